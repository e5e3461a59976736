"""The batch probe that a search makes first: the largest batch that fits, within what the budget pays for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from probe.batch.decide import floor_power_of_two, most_samples
from probe.batch.records import BatchResult
from probe.device.select import DeviceSpec
from probe.errors import Infeasible, NothingFitsError, ProbeError
from probe.search.executors.protocol import SearchExecutor
from probe.search.probing import first_feasible
from probe.search.space.space import Params
from probe.tasks.source import TaskSource

MAX_TRIED = 3
"""Configurations that attempts are made with after the largest one was refused."""
Observer = Callable[[Any], None]
_TOO_DEAR = "that could take more than a tenth of the budget's epochs"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """What the batch probe of a search is asked."""

    source: TaskSource
    params: Sequence[Params]
    """The largest configuration of the space, and others for where the task's code refuses it."""
    device: DeviceSpec
    allowed: int
    """The largest batch that the recipe or the data allows."""
    usual: int
    """What is searched up to where nothing can be measured: a rule of thumb."""
    start: int | None
    seed: int
    num_train: int
    max_samples: int | None
    """Training samples that the probe may see; None: any number."""

    @property
    def largest(self) -> int | None:
        """The largest batch to try: its attempt is paid for by `max_samples`. None where that would be less than `usual`, so
        that measuring would narrow the space more than the rule of thumb does."""
        if self.max_samples is None:
            return self.allowed
        affordable = self.max_samples // most_samples(1)
        return min(self.allowed, affordable) if affordable >= floor_power_of_two(self.usual) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProbe:
    """What the probe found. `error` comes beside what was measured before it; KeyboardInterrupt: the user's."""

    largest: int
    """Up to which batches are searched."""
    result: BatchResult | None
    """None where nothing was tried."""
    epochs: float = 0.0
    """Spent on it."""
    warnings: tuple[str, ...] = ()
    error: ProbeError | KeyboardInterrupt | None = None


def probe_largest_batch(
    plan: BatchPlan, executor: SearchExecutor, *, known: BatchResult | None, observer: Observer | None
) -> BatchProbe:
    """The largest batch that fits, of an earlier session's result where there is one; or a rule of thumb, with a warning."""
    error: ProbeError | None = None
    result = known
    largest = plan.largest
    if result is None:
        if largest is None:
            return BatchProbe(
                largest=plan.usual, result=None, warnings=(_by_rule_of_thumb("The batch probe", plan.usual),)
            )
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
        return replace(
            probe, largest=usual, warnings=(_by_rule_of_thumb("A further attempt of the batch probe", usual),)
        )
    is_cut_off = largest is not None and largest < plan.allowed and 2 * result.largest_fit > largest
    warning = f"Batch sizes above {result.largest_fit} were not tried: {_TOO_DEAR}."
    return replace(probe, largest=result.largest_fit, warnings=(warning,) if is_cut_off else ())


def _by_rule_of_thumb(what: str, usual: int) -> str:
    return f"{what} was not made: {_TOO_DEAR}. Batch sizes up to {usual} are searched, by a rule of thumb."


def _first_measured(plan: BatchPlan, executor: SearchExecutor, largest: int, observer: Observer | None) -> BatchResult:
    """With the first configuration that the task's code does not refuse. An attempt starts a process, so the others are only
    built, in a worker, before one of them is tried."""
    measure = partial(_measured, plan, executor, largest, observer)
    first, *others = plan.params
    try:
        return measure(first)
    except Infeasible as refused:
        built: list[Params] = executor.call(buildable, plan.source, others, most=MAX_TRIED)
        if not built:
            raise refused from None
    return first_feasible(built, measure)


def buildable(source: TaskSource, candidates: Sequence[Params], *, most: int) -> list[Params]:
    """The first `most` of the configurations whose task and model can be built. In a worker."""
    from probe.training.building import build_task

    found: list[Params] = []
    for params in candidates:
        if len(found) < most:
            with suppress(Infeasible):
                build_task(source, params).model()
                found.append(params)
    return found


def _measured(
    plan: BatchPlan, executor: SearchExecutor, largest: int, observer: Observer | None, params: Params
) -> BatchResult:
    """On the machine whose device is asked about. Raises Infeasible where the task's code refuses `params`."""
    result: BatchResult = executor.measure(_sweep, plan, largest, params, observer=observer)
    return result


def _sweep(plan: BatchPlan, largest: int, params: Params, *, observer: Observer | None = None) -> BatchResult:
    """The sizes that fit. The error of the task's own code has what was measured before it as its `result`."""
    from probe.batch.find import find_batch_size
    from probe.batch.sweep import SweepOptions

    # On a GPU every attempt that fails costs a process: there a prediction says where to start.
    start = plan.start or (None if plan.device.is_gpu else largest)
    return find_batch_size(
        plan.source,
        params=params,
        # A CPU that was resolved for training has no limit; resolved for measuring, it gets one.
        device=replace(plan.device, resolved=plan.device.counts_memory),
        start=start,
        max=largest,
        predict=start is None,
        seed=plan.seed,
        observer=observer,
        options=SweepOptions(size_only=True, max_samples=plan.max_samples),
    )


def batch_epochs(result: BatchResult, num_train: int) -> float:
    """What a batch probe cost in epochs, by the samples that its training steps saw."""
    from probe.batch.sweep import num_samples_used

    return num_samples_used(result.attempts) / num_train
