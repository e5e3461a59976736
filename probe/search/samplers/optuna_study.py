"""A space's axes in Optuna's terms, and studies that say nothing on the screen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import optuna

from probe.search.records.objective import Mode
from probe.search.records.search import ParamValue
from probe.search.space.space import Axis


def numpy_seed(seed: int) -> int:
    return seed % 2**32


def suggest(trial: optuna.Trial, axis: Axis) -> ParamValue:
    if axis.kind == "choices":
        return axis.choices[axis.choices.index(trial.suggest_categorical(axis.name, axis.choices))]
    if axis.kind == "int":
        return trial.suggest_int(axis.name, int(axis.low), int(axis.high), log=axis.log)
    return trial.suggest_float(axis.name, axis.low, axis.high, log=axis.log)


def distribution(axis: Axis) -> optuna.distributions.BaseDistribution:
    if axis.kind == "choices":
        return optuna.distributions.CategoricalDistribution(axis.choices)
    if axis.kind == "int":
        return optuna.distributions.IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return optuna.distributions.FloatDistribution(axis.low, axis.high, log=axis.log)


def create_study(mode: Mode) -> optuna.Study:
    with quiet():
        return optuna.create_study(direction="maximize" if mode == "max" else "minimize")


@contextmanager
def quiet() -> Iterator[None]:
    """For calls that log a line."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
