"""The learning rate probe of a search: one range test per optimizer, within the budget of the probes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from probe.device.select import DeviceSpec
from probe.errors import Infeasible
from probe.lr.records import LrResult
from probe.recipe.space import ProbedLr
from probe.search.executors.protocol import SearchExecutor
from probe.search.records.search import BudgetLimits
from probe.search.space.dimensions import lr_range, usual_lr
from probe.search.space.space import Params
from probe.search.study.budget import LR_STEPS, probe_steps, steps_in_epochs
from probe.search.task_info import first_feasible
from probe.seeds import derive_seed
from probe.tasks.source import TaskSource

LOWEST_LR, HIGHEST_LR = 1e-5, 10.0

Observer = Callable[[Any], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LrProbes:
    """The results of the range tests."""

    ranges: Mapping[str, tuple[float, float]]
    """Optimizer -> (low, high) of its learning rate; the key is "" if one range serves all."""
    results: Mapping[str, LrResult]
    epochs: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LrProbePlan:
    """The settings that the range tests of a search share."""

    source: TaskSource
    entry: ProbedLr
    keys: Sequence[str]
    """Keys of the range tests: optimizers, or "" for a single test."""
    params: Mapping[str, Sequence[Params]]
    """Key -> configurations for its test, all of one batch size. The first one that the task's code accepts is used."""
    device: DeviceSpec
    seed: int
    num_train: int
    planned_epochs: int
    """Epochs of the longest trials, for which the learning rate is suggested."""
    limits: BudgetLimits
    first_rung_epochs: float
    """Cost of the first rung, which the probes must leave in the budget."""
    spent_epochs: float
    wanted_steps: int = LR_STEPS
    lowest_lr: float = LOWEST_LR
    highest_lr: float = HIGHEST_LR


def probe_lrs(
    plan: LrProbePlan,
    executor: SearchExecutor,
    *,
    known: Mapping[str, LrResult] | None = None,
    keep: Callable[[str, LrResult], None] | None = None,
    observer: Observer | None = None,
) -> LrProbes:
    """Run a range test for each key that is not `known` in a worker, and call `keep(key, result)` after each. If the
    budget or memory does not allow one, a rule of thumb replaces it."""
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
                epochs += in_epochs(num_steps=result is None)  # the step in which memory ran out
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


def _probe_lr(
    plan: LrProbePlan, executor: SearchExecutor, steps: int, observer: Observer | None, params: Params
) -> LrResult | None:
    options = {
        "params": params,
        "steps": steps,
        "training_steps": max(1, round(plan.planned_epochs * plan.num_train / int(params["batch_size"]))),
        "lowest_lr": plan.lowest_lr,
        "highest_lr": plan.highest_lr,
        "device": plan.device,
        "seed": derive_seed(plan.seed, "lr", str(params.get("optimizer", ""))),
    }
    result: LrResult | None = executor.run(run_range_test, plan.source, options, on_message=observer)
    if result is not None and observer is not None:
        observer(result)
    return result


def run_range_test(source: TaskSource, options: Mapping[str, Any]) -> LrResult | None:
    """Run `find_lr` with these options in a worker and send its progress as messages; None if memory runs out."""
    from probe.device.failures import classify_failure
    from probe.lr.find import find_lr
    from probe.workers.child import send_message

    try:
        return find_lr(source, **options, observer=send_message)
    except Exception as error:
        if classify_failure(error) is None:
            raise
    return None
