"""Runs Optuna's samplers and pruners for `search_efficiency.py` and `search_lcbench.py`, with the settings of its tutorials."""

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
    """Run one search until the epochs are used up.

    Args:
        suggest: returns the configuration of an Optuna trial.
        epoch: (configuration, epoch number) -> accuracy after the epoch, or None if the training failed. It raises
            BudgetSpentError if the budget has no epoch left.
        name: name of the study, by which Hyperband deals trials to its brackets.

    Returns:
        The number of trials.
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
        warnings.simplefilter("ignore")  # GPSampler is experimental
        study.optimize(objective)
    return len(study.trials)
