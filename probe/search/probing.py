"""The range tests that a search makes first, one for each optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from probe.device.select import DeviceSpec
from probe.errors import Infeasible
from probe.lr.records import LrResult
from probe.recipe.space import ProbedLr
from probe.search.executors.protocol import SearchExecutor
from probe.search.records.search import BudgetLimits
from probe.search.space.dimensions import lr_range, usual_lr
from probe.search.space.space import Params
from probe.search.study.budget import LR_STEPS, probe_steps, steps_in_epochs
from probe.seeds import derive_seed
from probe.tasks.source import TaskSource

LOWEST_LR, HIGHEST_LR = 1e-5, 10.0

Observer = Callable[[Any], None]
Answer = TypeVar("Answer")


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
    params: Mapping[str, Sequence[Params]]
    """Key -> configurations to make it with, all with one batch size: the first that the task's code does not refuse."""
    device: DeviceSpec
    seed: int
    num_train: int
    planned_epochs: int
    """Of the longest trials: how long the training is that the learning rates are for."""
    limits: BudgetLimits
    first_rung_epochs: float
    """What the first trial costs at least, which the probes must leave."""
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
        params = plan.params[key][0]
        batch_size = int(params["batch_size"])
        in_epochs = partial(steps_in_epochs, batch_size=batch_size, num_train_samples=plan.num_train)
        steps = probe_steps(
            limits=plan.limits,
            first_rung_epochs=plan.first_rung_epochs,
            spent_epochs=plan.spent_epochs + epochs,
            num_probes=len(plan.keys) - index,
            batch_size=batch_size,
            num_train_samples=plan.num_train,
            wanted=plan.wanted_steps,
        )
        name = str(params.get("optimizer", key))
        result = (known or {}).get(key)
        why = "would take more than a tenth of the budget's epochs"
        if result is None and steps:
            try:
                result = first_feasible(plan.params[key], partial(_probe_lr, plan, executor, steps, observer))
                why = "ran out of memory"
                epochs += in_epochs(num_steps=result is None)  # the step that it ran out in
            except Infeasible as error:
                why = f"is not possible ({error.message})"
            if result is not None and keep is not None:
                keep(key, result)
        if result is None:
            warnings.append(f"A range test for {name or 'the learning rate'} {why}: its range is a rule of thumb.")
        else:
            results[key] = result
            epochs += in_epochs(num_steps=result.num_steps)
            warnings += [f"Range test for {name}: {warning}" for warning in result.warnings]
        found = result.suggestion.lr if result is not None and result.suggestion is not None else usual_lr(name)
        ranges[key] = lr_range(plan.entry, found, lowest=plan.lowest_lr, highest=plan.highest_lr)
    return LrProbes(ranges=ranges, results=results, epochs=epochs, warnings=tuple(warnings))


def first_feasible(candidates: Sequence[Params], attempt: Callable[[Params], Answer]) -> Answer:
    """What `attempt` returns for the first of the configurations that the task's code does not refuse. Raises Infeasible where
    it refuses all of them."""
    refused: Infeasible | None = None
    for params in candidates:
        try:
            return attempt(params)
        except Infeasible as error:
            refused = refused or error
    why = "" if refused is None else f", the first one because: {refused.message}"
    raise Infeasible(
        f"The task refuses each of {len(candidates)} configurations of the space that were tried{why}",
        hint="Narrow [space], or say with `when` which hyperparameters go together.",
    )


def _probe_lr(
    plan: LrPlan, executor: SearchExecutor, steps: int, observer: Observer | None, params: Params
) -> LrResult | None:
    result: LrResult | None = executor.call(
        test_range,
        plan.source,
        params,
        steps=steps,
        training_steps=max(1, round(plan.planned_epochs * plan.num_train / int(params["batch_size"]))),
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
    params: Params,
    *,
    steps: int,
    training_steps: int,
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
            training_steps=training_steps,
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
