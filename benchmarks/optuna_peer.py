"""Optuna's samplers and pruners as `search_efficiency.py` and `search_lcbench.py` drive them: through `Study.optimize`,
with the settings that its documentation begins with."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ledger_executor import BudgetSpentError


def optuna_study(
    suggest: Callable[[Any], Mapping[str, Any]],
    epoch: Callable[[Mapping[str, Any], int], float | None],
    *,
    name: str,
    seed: int,
    sampler: str,
    pruner: str,
    first_rung: int,
    epochs_a_trial: int,
    factor: int,
) -> int:
    """One search until the epochs are used up; returns the number of its trials.

    `suggest(trial)`: a configuration. `epoch(params, number)`: its accuracy after that epoch, None where the training broke;
    it raises BudgetSpentError instead of an epoch more than the budget. `name`: of the study, by which Hyperband deals its
    brackets.
    """
    import optuna

    def objective(trial: optuna.Trial) -> float:
        params, best = suggest(trial), 0.0
        try:
            for number in range(1, epochs_a_trial + 1):
                accuracy = epoch(params, number)
                if accuracy is None:
                    raise optuna.TrialPruned
                best = max(best, accuracy)
                trial.report(accuracy, number)
                if trial.should_prune():
                    raise optuna.TrialPruned
        except BudgetSpentError:
            trial.study.stop()
            raise optuna.TrialPruned from None
        return best

    samplers: Mapping[str, Callable[..., optuna.samplers.BaseSampler]] = {
        "tpe": optuna.samplers.TPESampler,
        "gp": optuna.samplers.GPSampler,
        "random": optuna.samplers.RandomSampler,
    }
    pruners: Mapping[str, Callable[[], optuna.pruners.BasePruner]] = {
        "hyperband": partial(
            optuna.pruners.HyperbandPruner,
            min_resource=first_rung,
            max_resource=epochs_a_trial,
            reduction_factor=factor,
        ),
        "halving": partial(optuna.pruners.SuccessiveHalvingPruner, min_resource=first_rung, reduction_factor=factor),
    }
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name=name, direction="maximize", sampler=samplers[sampler](seed=seed), pruner=pruners[pruner]()
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GPSampler's, that it is experimental
        study.optimize(objective)
    return len(study.trials)
