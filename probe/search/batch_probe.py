"""The batch probe of a search: the largest batch that fits, within the budget of the probes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from probe.batch.decide import floor_power_of_two, most_samples
from probe.batch.records import BatchResult
from probe.device.select import DeviceSpec
from probe.errors import Infeasible, NothingFitsError, ProbeError
from probe.search.executors.protocol import SearchExecutor
from probe.search.space.space import Params
from probe.search.task_info import first_feasible
from probe.tasks.source import TaskSource

MAX_TRIED = 3
"""Number of configurations that are measured after the task's code refused the largest one."""
Observer = Callable[[Any], None]
_TOO_EXPENSIVE = "it could take more than a tenth of the budget's epochs"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProbePlan:
    """The settings of the batch probe."""

    source: TaskSource
    params: Sequence[Params]
    """The largest configuration of the space, and others in case the task's code refuses it."""
    device: DeviceSpec
    allowed: int
    """Largest batch that the recipe and the data allow."""
    usual: int
    """Largest batch to search if nothing can be measured: a rule of thumb."""
    start: int | None
    seed: int
    num_train: int
    max_samples: int | None
    """Training samples that the probe may use; None for no limit."""

    @property
    def largest(self) -> int | None:
        """Largest batch to try within `max_samples`; None if that is less than `usual`, since measuring would then
        narrow the space more than the rule of thumb."""
        if self.max_samples is None:
            return self.allowed
        affordable = self.max_samples // most_samples(1)
        return min(self.allowed, affordable) if affordable >= floor_power_of_two(self.usual) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProbe:
    """The result of the batch probe."""

    largest: int
    result: BatchResult | None
    """Result of the measurement; None if nothing was tried."""
    epochs: float = 0.0
    warnings: tuple[str, ...] = ()
    error: ProbeError | KeyboardInterrupt | None = None
    """The error that ended the probe, or KeyboardInterrupt after Ctrl-C; None if there was none."""


def probe_largest_batch(
    plan: BatchProbePlan, executor: SearchExecutor, *, known: BatchResult | None, observer: Observer | None
) -> BatchProbe:
    """Find the largest batch that fits, by measurement unless it is `known`, or by a rule of thumb with a warning."""
    error: ProbeError | None = None
    result, largest = known, plan.largest
    if result is None:
        if largest is None:
            warning = _rule_of_thumb_warning("The batch probe", plan.usual)
            return BatchProbe(largest=plan.usual, result=None, warnings=(warning,))
        try:
            result = _first_measured(plan, executor, largest, observer)
        except Infeasible:
            raise
        except ProbeError as raised:
            if raised.result is None:
                raise
            result, error = raised.result, raised
        if observer is not None:
            observer(result)
    probe = BatchProbe(largest=plan.usual, result=result, epochs=batch_epochs(result, plan.num_train), error=error)
    if result.stopped_by == "interrupted":
        return replace(probe, error=error or KeyboardInterrupt())
    if error is None and result.stopped_by == "nothing_fits":
        error = NothingFitsError(
            f"Not even a batch of 1 fits on {plan.device} with the largest model of the space.",
            hint="Lower the upper ends of the space, or search on a device with more memory.",
        )
    if error is not None:
        return replace(probe, error=error)
    if result.largest_fit is None:
        smallest = min((attempt.batch_size for attempt in result.attempts), default=2 * plan.usual)
        usual = min(plan.usual, max(1, smallest // 2))
        return replace(probe, largest=usual, warnings=(_rule_of_thumb_warning("Another batch probe attempt", usual),))
    is_cut_off = largest is not None and largest < plan.allowed and 2 * result.largest_fit > largest
    warning = f"Batch sizes above {result.largest_fit} were not tried, since {_TOO_EXPENSIVE}."
    return replace(probe, largest=result.largest_fit, warnings=(warning,) if is_cut_off else ())


def _rule_of_thumb_warning(what: str, usual: int) -> str:
    return f"{what} was skipped, since {_TOO_EXPENSIVE}. Batch sizes up to {usual} are searched, by a rule of thumb."


def _first_measured(
    plan: BatchProbePlan, executor: SearchExecutor, largest: int, observer: Observer | None
) -> BatchResult:
    """Measure with the first configuration that the task's code accepts. Each attempt starts a process, so after a
    refusal a worker first selects configurations whose model can be built."""

    def measure(params: Params) -> BatchResult:
        result: BatchResult = executor.run(_sweep, plan, largest, params, on="host", on_message=observer)
        return result

    first, *others = plan.params
    try:
        return measure(first)
    except Infeasible as refused:
        built: list[Params] = executor.run(buildable, plan.source, others, most=MAX_TRIED)
        if not built:
            raise refused from None
    return first_feasible(built, measure)


def buildable(source: TaskSource, candidates: Sequence[Params], *, most: int) -> list[Params]:
    """Return the first `most` configurations whose task and model can be built. Runs in a worker."""
    from probe.training.building import build_task

    found: list[Params] = []
    for params in candidates:
        if len(found) < most:
            with suppress(Infeasible):
                build_task(source, params).model()
                found.append(params)
    return found


def _sweep(plan: BatchProbePlan, largest: int, params: Params, *, observer: Observer | None = None) -> BatchResult:
    """Measure the batch sizes that fit. An error of the task's code carries the partial result."""
    from probe.batch.find import find_batch_size
    from probe.batch.sweep import SweepOptions

    # On a GPU each failed attempt costs a process, so a prediction chooses the first size.
    start = plan.start or (None if plan.device.is_gpu else largest)
    return find_batch_size(
        plan.source,
        params=params,
        # The CPU has no memory limit when it is resolved for training. Resolved again for measuring, it gets one.
        device=replace(plan.device, resolved=plan.device.counts_memory),
        start=start,
        max=largest,
        predict=start is None,
        seed=plan.seed,
        observer=observer,
        options=SweepOptions(size_only=True, max_samples=plan.max_samples),
    )


def batch_epochs(result: BatchResult, num_train: int) -> float:
    """Return the cost of a batch probe in epochs, by the number of samples in its training steps."""
    from probe.batch.sweep import num_samples_used

    return num_samples_used(result.attempts) / num_train
