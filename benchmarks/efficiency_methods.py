"""The searches that `search_efficiency.py` compares: each spends one ledger's epochs on the space below and returns nothing.

Each is driven through its own package, with the settings that its documentation begins with; all train the same code, see
the same validation images after every epoch, and are cut off when the epochs are used up.
"""

from __future__ import annotations

import math
import random
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from efficiency_training import (
    EPOCHS_A_TRIAL,
    FACTOR,
    RUNGS_FROM,
    Images,
    Ledger,
)
from ledger_executor import BudgetSpentError
from optuna_peer import optuna_study

from probe.search.records.search import ParamValue

OPTIMIZERS = ["sgd", "adam", "rmsprop"]
ACTIVATIONS = ["relu", "gelu", "tanh"]
LR = (1e-5, 1.0)
WEIGHT_DECAY = (1e-6, 1e-1)
BATCH_EXPONENTS = (4, 8)
WIDTH_EXPONENTS = (3, 5)
LAYERS = (1, 3)
DROPOUT = (0.0, 0.5)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one search came to."""

    accuracies: list[float]
    """After each epoch it trained, in order; 0 where a training broke."""
    probe_epochs: float = 0.0
    """Spent before the first of them."""
    num_trials: int = 0


Method = Callable[[int, Ledger], Outcome]


def random_search(seed: int, ledger: Ledger) -> Outcome:
    """Uniform draws, each trained to the end."""
    generator = random.Random(seed)
    num_trials = 0
    try:
        while True:
            params = params_from(_RandomDraws(generator))
            num_trials += 1
            for epoch in range(1, EPOCHS_A_TRIAL + 1):
                if ledger.epoch(params, epoch) is None:
                    break
    except BudgetSpentError:
        return Outcome(accuracies=ledger.accuracies, num_trials=num_trials)


def optuna_search(seed: int, ledger: Ledger, *, pruner: str) -> Outcome:
    """Optuna's TPE with one of its pruners."""

    def epoch(params: Mapping[str, ParamValue], number: int) -> float | None:
        report = ledger.epoch(params, number)
        return None if report is None else report.metrics["accuracy"]

    num_trials = optuna_study(
        params_from,
        epoch,
        name=f"seed {seed}",
        seed=seed,
        sampler="tpe",
        pruner=pruner,
        first_rung=RUNGS_FROM,
        epochs_a_trial=EPOCHS_A_TRIAL,
        factor=FACTOR,
    )
    return Outcome(accuracies=ledger.accuracies, num_trials=num_trials)


def params_from(trial: Any) -> dict[str, ParamValue]:
    """One configuration, asked for as Optuna asks."""
    return {
        "lr": trial.suggest_float("lr", *LR, log=True),
        "batch_size": 2 ** trial.suggest_int("log2_batch_size", *BATCH_EXPONENTS),
        "layers": trial.suggest_int("layers", *LAYERS),
        "width": 2 ** trial.suggest_int("log2_width", *WIDTH_EXPONENTS),
        "dropout": trial.suggest_float("dropout", *DROPOUT),
        "weight_decay": trial.suggest_float("weight_decay", *WEIGHT_DECAY, log=True),
        "optimizer": trial.suggest_categorical("optimizer", OPTIMIZERS),
        "activation": trial.suggest_categorical("activation", ACTIVATIONS),
    }


class _RandomDraws:
    """The part of an Optuna trial that `params_from` uses."""

    def __init__(self, generator: random.Random) -> None:
        self._generator = generator

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        if log:
            return math.exp(self._generator.uniform(math.log(low), math.log(high)))
        return self._generator.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int) -> int:
        return self._generator.randint(low, high)

    def suggest_categorical(self, name: str, choices: list[str]) -> str:
        return self._generator.choice(choices)


def ray_asha(seed: int, ledger: Ledger) -> Outcome:
    """Ray Tune's ASHAScheduler over its random search, through `Tuner.fit`, one trial at a time in one reused actor."""
    import logging
    import os

    # Quiet, and its workers as important to the system as everybody else's.
    settings = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_worker_niceness": "0"}
    os.environ.update({"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", **settings})
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.basic_variant import BasicVariantGenerator

    recorder = _recorder(ledger.limit)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="probe-ray-") as folder:
        warnings.simplefilter("ignore")
        if not ray.is_initialized():
            ray.init(
                address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
            )
        trainable = tune.with_parameters(
            _trainable_class(), images=ledger.images, store=str(ledger.store), limit=ledger.limit
        )
        tuner = tune.Tuner(
            trainable,
            param_space=_ray_space(tune),
            tune_config=tune.TuneConfig(
                metric="accuracy",
                mode="max",
                num_samples=ledger.limit,
                search_alg=BasicVariantGenerator(random_state=seed, max_concurrent=1),
                scheduler=ASHAScheduler(max_t=EPOCHS_A_TRIAL, grace_period=RUNGS_FROM, reduction_factor=FACTOR),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=folder, stop=recorder, verbose=0),
        )
        tuner.fit()
    ledger.accuracies += recorder.accuracies
    return Outcome(accuracies=ledger.accuracies, num_trials=len(recorder.trials))


def _ray_space(tune: Any) -> dict[str, Any]:
    def exponent(ends: tuple[int, int]) -> Any:
        return tune.choice([2**power for power in range(ends[0], ends[1] + 1)])

    return {
        "lr": tune.loguniform(*LR),
        "batch_size": exponent(BATCH_EXPONENTS),
        "layers": tune.randint(LAYERS[0], LAYERS[1] + 1),
        "width": exponent(WIDTH_EXPONENTS),
        "dropout": tune.uniform(*DROPOUT),
        "weight_decay": tune.loguniform(*WEIGHT_DECAY),
        "optimizer": tune.choice(OPTIMIZERS),
        "activation": tune.choice(ACTIVATIONS),
    }


def _trainable_class() -> type:
    from ray import tune

    class Training(tune.Trainable):
        def setup(self, config: dict[str, Any], images: Images, store: str, limit: int) -> None:
            import torch

            torch.set_num_threads(1)
            self._ledger = Ledger(images=images, store=Path(store), limit=limit * EPOCHS_A_TRIAL)
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._params = {name: new_config[name] for name in sorted(new_config)}
            self._epoch = 0
            return True

        def step(self) -> dict[str, Any]:
            self._epoch += 1
            report = self._ledger.epoch(self._params, self._epoch)
            return {"accuracy": 0.0 if report is None else report.metrics["accuracy"], "done": report is None}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            pass

    return Training


def _recorder(limit: int) -> Any:
    """A stopper of Ray's: sees every epoch, and ends the search when they are used up."""
    from ray import tune

    class Recorder(tune.Stopper):
        def __init__(self) -> None:
            self.accuracies: list[float] = []
            self.trials: set[str] = set()

        def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
            if not self.stop_all():
                self.trials.add(trial_id)
                self.accuracies.append(float(result["accuracy"]))
            return False

        def stop_all(self) -> bool:
            return len(self.accuracies) >= limit

    return Recorder()


PEERS: dict[str, Method] = {
    "random": random_search,
    "Optuna TPE + Hyperband": partial(optuna_search, pruner="hyperband"),
    "Optuna TPE + halving": partial(optuna_search, pruner="halving"),
    "Ray Tune ASHA": ray_asha,
}
