"""The peers of `search_lcbench.py`, through their own packages and driven as their documentation begins.

Each spends one ledger's epochs, is cut off when they are used up, and returns the number of its trials. All may go on with a
configuration from a checkpoint, so that nobody pays an epoch of a configuration twice.
"""

from __future__ import annotations

import importlib
import math
import random
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lcbench_surrogate import (
    EPOCHS_A_TRIAL,
    EPOCHS_IN_ALL,
    FACTOR,
    FIRST_RUNG,
    HYPERPARAMETERS,
    Ledger,
    Number,
    draw_params,
)
from ledger_executor import BudgetSpentError
from optuna_peer import optuna_study

Search = Callable[[str, int, Ledger], int]
"""(task, seed, ledger) -> the number of trials."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    search: Search
    package: str | None = None
    """None: it needs none."""

    @property
    def missing(self) -> str | None:
        """A sentence where the package cannot be imported; afterwards it has been."""
        if self.package is None:
            return None
        try:
            importlib.import_module(self.package)
        except ImportError as error:
            return f"needs the package {self.package} (pip install {self.package}), which cannot be imported: {error}"
        return None


def random_search(task: str, seed: int, ledger: Ledger) -> int:
    """Uniform draws, each trained to the end."""
    generator, num_trials = random.Random(seed), 0
    try:
        while True:
            params = draw_params(generator)
            for epoch in range(1, EPOCHS_A_TRIAL + 1):
                ledger.epoch(params, epoch)
            num_trials += 1
    except BudgetSpentError:
        return num_trials


def optuna_search(task: str, seed: int, ledger: Ledger, *, sampler: str, pruner: str) -> int:
    return optuna_study(
        _suggest,
        ledger.epoch,
        name=f"{task} {seed}",
        seed=seed,
        sampler=sampler,
        pruner=pruner,
        first_rung=FIRST_RUNG,
        epochs_a_trial=EPOCHS_A_TRIAL,
        factor=FACTOR,
    )


def _suggest(trial: Any) -> dict[str, Number]:
    params: dict[str, Number] = {}
    for given in HYPERPARAMETERS:
        suggest = trial.suggest_int if given.is_whole else trial.suggest_float
        params[given.name] = suggest(given.name, given.low, given.high, log=given.log)
    return params


@dataclass(kw_only=True)
class _Continued:
    """For packages that ask for a configuration and a budget instead of reporting epochs: trains what is missing of it."""

    ledger: Ledger
    _trained: dict[tuple[Number, ...], list[float]] = field(default_factory=dict)
    """Of each configuration, the accuracy after each epoch so far."""

    @property
    def num_trials(self) -> int:
        return len(self._trained)

    def loss(self, config: Mapping[str, Any], budget: float) -> float:
        """1 - the best accuracy of the first `budget` epochs; a part of an epoch is one."""
        params = {given.name: (int if given.is_whole else float)(config[given.name]) for given in HYPERPARAMETERS}
        epochs = math.ceil(round(budget, 6))
        accuracies = self._trained.setdefault(tuple(params.values()), [])
        while len(accuracies) < epochs:
            accuracies.append(self.ledger.epoch(params, len(accuracies) + 1))
        return 1 - max(accuracies[:epochs])


def _config_space(seed: int) -> Any:
    from ConfigSpace import ConfigurationSpace, Float, Integer

    space = ConfigurationSpace(seed=seed)
    for given in HYPERPARAMETERS:
        kind = Integer if given.is_whole else Float
        space.add(kind(given.name, (given.low, given.high), log=given.log))
    return space


def smac_search(task: str, seed: int, ledger: Ledger) -> int:
    """SMAC3's MultiFidelityFacade by `ask` and `tell`, with the number of trials that SMAC itself reckons for the epochs.

    What it tries depends on PYTHONHASHSEED, too.
    """
    from smac import MultiFidelityFacade, Scenario
    from smac.intensifier.hyperband_utils import get_n_trials_for_hyperband_multifidelity
    from smac.runhistory.dataclasses import TrialValue

    num_trials = get_n_trials_for_hyperband_multifidelity(
        total_budget=EPOCHS_IN_ALL,
        min_budget=FIRST_RUNG,
        max_budget=EPOCHS_A_TRIAL,
        eta=FACTOR,
        print_summary=False,
    )
    training = _Continued(ledger=ledger)
    with tempfile.TemporaryDirectory(prefix="probe-smac-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scenario = Scenario(
            _config_space(seed),
            output_directory=Path(folder),
            deterministic=True,
            min_budget=FIRST_RUNG,
            max_budget=EPOCHS_A_TRIAL,
            n_trials=num_trials,  # reckoned without checkpoints, which leave epochs for more
            seed=seed,
        )

        def target(config: Any, seed: int, budget: float) -> float:
            return training.loss(config, budget)

        facade = MultiFidelityFacade(scenario, target, logging_level=False, overwrite=True)
        try:
            while True:
                info = facade.ask()
                facade.tell(info, TrialValue(cost=target(info.config, seed, info.budget)), save=False)
        except BudgetSpentError:
            return training.num_trials


def dehb_search(task: str, seed: int, ledger: Ledger) -> int:
    """DEHB by `ask` and `tell`."""
    training = _Continued(ledger=ledger)
    with tempfile.TemporaryDirectory(prefix="probe-dehb-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from dehb import DEHB

        optimizer = DEHB(
            cs=_config_space(seed),
            dimensions=len(HYPERPARAMETERS),
            min_fidelity=FIRST_RUNG,
            max_fidelity=EPOCHS_A_TRIAL,
            eta=FACTOR,
            n_workers=1,
            seed=seed,
            save_freq="end",  # of `run`, which is not called
            output_path=folder,
            log_level="ERROR",
        )
        try:
            while True:
                job = optimizer.ask()
                spent = len(ledger.accuracies)
                loss = training.loss(job["config"], job["fidelity"])
                optimizer.tell(job, {"fitness": loss, "cost": len(ledger.accuracies) - spent})
        except BudgetSpentError:
            return training.num_trials


def _optuna(sampler: str, pruner: str) -> Peer:
    return Peer(search=partial(optuna_search, sampler=sampler, pruner=pruner), package="optuna")


PEERS: Mapping[str, Peer] = {
    "random": Peer(search=random_search),
    "optuna-tpe-halving": _optuna("tpe", "halving"),
    "optuna-tpe-hyperband": _optuna("tpe", "hyperband"),
    "optuna-gp-halving": _optuna("gp", "halving"),
    "optuna-gp-hyperband": _optuna("gp", "hyperband"),
    "optuna-random-halving": _optuna("random", "halving"),
    "smac-multifidelity": Peer(search=smac_search, package="smac"),
    "dehb": Peer(search=dehb_search, package="dehb"),
}
