"""The probes that a search makes first: what the task is, the batch that fits, the learning rate of each optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from probe.batch.records import BatchResult
from probe.device.select import DeviceSpec
from probe.errors import ProbeError
from probe.lr.records import LrResult
from probe.recipe.space import ProbedLr
from probe.search.budget import probe_steps, steps_in_epochs
from probe.search.dimensions import lr_range, usual_lr
from probe.search.executor import SearchExecutor
from probe.search.records import BudgetLimits, ParamValue
from probe.seeds import derive_seed
from probe.zoo.source import TaskSource

LOWEST_LR, HIGHEST_LR = 1e-5, 10.0
LR_STEPS = 300

Observer = Callable[[Any], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LrProbes:
    ranges: Mapping[str, tuple[float, float]]
    """Optimizer, or "" where one range serves all -> (low, high)."""
    results: Mapping[str, LrResult]
    epochs: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LrPlan:
    """What the range tests of one search share."""

    source: TaskSource
    entry: ProbedLr
    keys: Sequence[str]
    """One range test each."""
    params: Mapping[str, Mapping[str, ParamValue]]
    """Key -> the configuration it is made with."""
    device: DeviceSpec
    seed: int
    num_train: int
    planned_epochs: int
    """Of the longest trials: how long the training is that the learning rates are for."""
    limits: BudgetLimits
    spent_epochs: float
    wanted_steps: int = LR_STEPS
    lowest_lr: float = LOWEST_LR
    highest_lr: float = HIGHEST_LR


def probe_lrs(
    plan: LrPlan,
    executor: SearchExecutor,
    *,
    known: Mapping[str, LrResult] | None = None,
    keep: Callable[[str, LrResult], None] | None = None,
    observer: Observer | None = None,
) -> LrProbes:
    """A range test for each key, in a worker, within what the probes may spend; rules of thumb where that is too little.

    `known` ones were made before; `keep(key, result)` is told of each new one at once.
    """
    ranges: dict[str, tuple[float, float]] = {}
    results: dict[str, LrResult] = {}
    warnings = []
    epochs = 0.0
    for index, key in enumerate(plan.keys):
        params = plan.params[key]
        batch_size = int(params["batch_size"])
        steps = probe_steps(
            limits=plan.limits,
            spent_epochs=plan.spent_epochs + epochs,
            num_probes=len(plan.keys) - index,
            batch_size=batch_size,
            num_train_samples=plan.num_train,
            wanted=plan.wanted_steps,
        )
        name = str(params.get("optimizer", key))
        result = (known or {}).get(key)
        if result is None and steps:
            result = _probe_lr(plan, executor, params, steps, observer)
            if result is not None and keep is not None:
                keep(key, result)
        if result is None:
            why = "ran out of memory" if steps else "would take more than a tenth of the budget's epochs"
            warnings.append(f"A range test for {name or 'the learning rate'} {why}: its range is a rule of thumb.")
        else:
            results[key] = result
            epochs += steps_in_epochs(
                num_steps=result.num_steps, batch_size=batch_size, num_train_samples=plan.num_train
            )
            warnings += [f"Range test for {name}: {warning}" for warning in result.warnings]
        found = result.suggestion.lr if result is not None and result.suggestion is not None else usual_lr(name)
        ranges[key] = lr_range(plan.entry, found, lowest=plan.lowest_lr, highest=plan.highest_lr)
    return LrProbes(ranges=ranges, results=results, epochs=epochs, warnings=tuple(warnings))


def _probe_lr(
    plan: LrPlan, executor: SearchExecutor, params: Mapping[str, ParamValue], steps: int, observer: Observer | None
) -> LrResult | None:
    result: LrResult | None = executor.call(
        test_range,
        plan.source,
        params,
        steps=steps,
        horizon=max(1, round(plan.planned_epochs * plan.num_train / int(params["batch_size"]))),
        lowest_lr=plan.lowest_lr,
        highest_lr=plan.highest_lr,
        device=plan.device,
        seed=derive_seed(plan.seed, "lr", str(params.get("optimizer", ""))),
        on_message=observer,
    )
    if result is not None and observer is not None:
        observer(result)
    return result


def test_range(
    source: TaskSource,
    params: Mapping[str, ParamValue],
    *,
    steps: int,
    horizon: int,
    lowest_lr: float,
    highest_lr: float,
    device: DeviceSpec,
    seed: int,
) -> LrResult | None:
    """A range test inside a worker, its progress sent as messages; None where memory runs out."""
    from probe.device.failures import classify_failure
    from probe.lr.find import find_lr
    from probe.workers.child import send_message

    try:
        return find_lr(
            source,
            params=params,
            steps=steps,
            horizon=horizon,
            lowest_lr=lowest_lr,
            highest_lr=highest_lr,
            device=str(device),
            seed=seed,
            observer=send_message,
        )
    except Exception as error:
        if classify_failure(error) is None:
            raise
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """What the batch probe of a search is asked."""

    source: TaskSource
    params: Mapping[str, ParamValue]
    device: DeviceSpec
    largest: int
    """The largest batch that the recipe or the data allows."""
    start: int | None
    seed: int


def probe_batch(plan: BatchPlan, *, observer: Observer | None = None) -> tuple[BatchResult, ProbeError | None]:
    """The sizes that fit. An error of the task's own code comes beside what was measured before it."""
    from probe.batch.find import probe_batch_size

    # On a GPU every attempt that fails costs a process: there a prediction says where to start.
    start = plan.start or (None if plan.device.kind == "cuda" else plan.largest)
    return probe_batch_size(
        plan.source,
        params=plan.params,
        # A CPU that was resolved for training has no limit; resolved for measuring, it gets one.
        device=replace(plan.device, resolved=plan.device.kind != "cpu"),
        start=start,
        max=plan.largest,
        predict=start is None,
        size_only=True,
        seed=plan.seed,
        observer=observer,
    )


def measured_batch(
    plan: BatchPlan, executor: SearchExecutor, *, observer: Observer | None
) -> tuple[BatchResult, ProbeError | None]:
    """`probe_batch` on the machine whose device is asked about."""
    found: tuple[BatchResult, ProbeError | None] = executor.measure(probe_batch, plan, observer=observer)
    return found


def batch_epochs(result: BatchResult, num_train: int) -> float:
    """What a batch probe's timed steps cost in epochs."""
    return sum(
        steps_in_epochs(num_steps=attempt.num_steps, batch_size=attempt.batch_size, num_train_samples=num_train)
        for attempt in result.attempts
    )
