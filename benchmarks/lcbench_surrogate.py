"""LCBench's learning curves as YAHPO Gym's surrogate predicts them, and the ledger that a search spends its epochs through.

Zimmer, Lindauer & Hutter 2021, "Auto-PyTorch Tabular" (https://arxiv.org/abs/2006.13799): SGD with a cosine schedule on tabular
data, 7 hyperparameters, 52 epochs. Pfisterer et al. 2022, "YAHPO Gym" (https://arxiv.org/abs/2109.03670): a network fitted to
those runs, which maps data set, epoch and hyperparameters to the validation accuracy, in microseconds.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from ledger_executor import BudgetSpentError

MODEL_FILE, TASKS_FILE = "model.onnx", "tasks.json"
EPOCHS_A_TRIAL = 52
FIRST_RUNG, FACTOR = 2, 3
"""What the peers that have rungs are told. Optuna counts upwards from 2 epochs; SMAC and DEHB count down from 52, so that their
lowest rung is 6."""
EPOCHS_IN_ALL = 20 * EPOCHS_A_TRIAL
NUM_REFERENCES, REFERENCE_SEED = 4000, 12345
ACCURACY = 1
"""Which of the surrogate's outputs is the validation accuracy, in per cent."""

Number = int | float
Params = Mapping[str, Number]
"""By the surrogate's names, in the order of HYPERPARAMETERS."""
Accuracies = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameter:
    """`low` to `high`, both included; whole numbers where both are."""

    name: str
    """The surrogate's."""
    our_name: str
    """In a recipe of probe's."""
    low: Number
    high: Number
    log: bool = False

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int)

    def draw(self, generator: random.Random) -> Number:
        if self.log:
            value = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
            return round(value) if self.is_whole else value
        return (
            generator.randint(int(self.low), int(self.high))
            if self.is_whole
            else generator.uniform(self.low, self.high)
        )


HYPERPARAMETERS = (
    Hyperparameter(name="batch_size", our_name="batch_size", low=16, high=512, log=True),
    Hyperparameter(name="learning_rate", our_name="lr", low=1e-4, high=0.1, log=True),
    Hyperparameter(name="momentum", our_name="momentum", low=0.1, high=0.99),
    Hyperparameter(name="weight_decay", our_name="weight_decay", low=1e-5, high=0.1),
    Hyperparameter(name="num_layers", our_name="layers", low=1, high=5),
    Hyperparameter(name="max_units", our_name="width", low=64, high=1024, log=True),
    Hyperparameter(name="max_dropout", our_name="dropout", low=0.0, high=1.0),
)
"""In the order of the surrogate's columns, after the epoch."""


def draw_params(generator: random.Random) -> dict[str, Number]:
    """A configuration drawn uniformly, each hyperparameter on its own scale."""
    return {hyperparameter.name: hyperparameter.draw(generator) for hyperparameter in HYPERPARAMETERS}


class Curves(Protocol):
    """Learning curves of one data set."""

    def accuracies(self, params: Params) -> Accuracies:
        """Validation accuracy (0 to 1) after each of the EPOCHS_A_TRIAL epochs."""

    def final_accuracies(self, many: Sequence[Params]) -> Accuracies:
        """Of each configuration, after its last epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrogate:
    """The Curves of one data set, from the folder that holds the network and the list of data sets."""

    folder: Path
    task: str

    def accuracies(self, params: Params) -> Accuracies:
        return self._predict([(epoch, params) for epoch in range(1, EPOCHS_A_TRIAL + 1)])

    def final_accuracies(self, many: Sequence[Params]) -> Accuracies:
        return self._predict([(EPOCHS_A_TRIAL, params) for params in many])

    def _predict(self, rows: Sequence[tuple[int, Params]]) -> Accuracies:
        names = [hyperparameter.name for hyperparameter in HYPERPARAMETERS]
        numbers = np.array([[epoch, *(params[name] for name in names)] for epoch, params in rows], dtype=np.float32)
        task = np.full((len(rows), 1), read_tasks(self.folder)[self.task], dtype=np.int32)
        outputs: Accuracies = _session(self.folder).run(None, {"x_cat": task, "x_cont": numbers})[0]
        return outputs[:, ACCURACY] / np.float32(100)


@cache
def read_tasks(folder: Path) -> dict[str, int]:
    """The data sets that there are, by name, and how the network knows them."""
    tasks: dict[str, int] = json.loads((folder / TASKS_FILE).read_text())
    return tasks


@cache
def _session(folder: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(folder / MODEL_FILE), options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What random configurations reach when they are trained to the end."""

    best: float
    median: float

    def regret(self, accuracy: float) -> float:
        """0: as good as the best of them; 1: as their median; below 0: better than all of them."""
        return (self.best - accuracy) / max(1e-9, self.best - self.median)


def reference_of(curves: Curves) -> Reference:
    generator = random.Random(REFERENCE_SEED)
    finals = curves.final_accuracies([draw_params(generator) for _ in range(NUM_REFERENCES)])
    return Reference(best=float(np.max(finals)), median=float(np.median(finals)))


@dataclass(kw_only=True)
class Ledger:
    """Counts the epochs of one search and writes down what each gave, in the order in which they were asked for."""

    curves: Curves
    limit: int = EPOCHS_IN_ALL
    accuracies: list[float] = field(default_factory=list)
    """After each epoch of the whole search."""
    _known: dict[tuple[Number, ...], Accuracies] = field(default_factory=dict)
    """Predicted is a whole curve at once; what it costs is counted by epoch."""

    def epoch(self, params: Params, number: int) -> float:
        """The validation accuracy of this configuration after epoch `number`, from 1.

        Raises BudgetSpentError instead of an epoch more than the limit.
        """
        if len(self.accuracies) >= self.limit:
            raise BudgetSpentError
        key = tuple(params[hyperparameter.name] for hyperparameter in HYPERPARAMETERS)
        if key not in self._known:
            self._known[key] = self.curves.accuracies(params)
        accuracy = float(self._known[key][number - 1])
        self.accuracies.append(accuracy)
        return accuracy
