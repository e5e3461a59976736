"""Helpers for Optuna: distributions of a space's axes, and studies that log nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import optuna

from probe.search.records.objective import Mode
from probe.search.records.search import ParamValue
from probe.search.space.space import Axis, Positions, Space, draw


def numpy_seed(seed: int) -> int:
    """`seed` in the range that NumPy accepts."""
    return seed % 2**32


def ask_study(study: optuna.Study, space: Space, *, at: Positions | None = None) -> optuna.Trial:
    """A new trial of a study, with positions from the study's sampler, or at given ones."""
    if at is not None:
        study.enqueue_trial(dict(at))
    trial = study.ask()
    draw(space, lambda axis: suggest(trial, axis))
    return trial


def suggest(trial: optuna.Trial, axis: Axis) -> ParamValue:
    """The trial's position on an axis."""
    if axis.kind == "choices":
        return axis.choices[axis.choices.index(trial.suggest_categorical(axis.name, axis.choices))]
    if axis.kind == "int":
        return trial.suggest_int(axis.name, int(axis.low), int(axis.high), log=axis.log)
    return trial.suggest_float(axis.name, axis.low, axis.high, log=axis.log)


def distribution(axis: Axis) -> optuna.distributions.BaseDistribution:
    """Optuna's distribution of an axis."""
    if axis.kind == "choices":
        return optuna.distributions.CategoricalDistribution(axis.choices)
    if axis.kind == "int":
        return optuna.distributions.IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return optuna.distributions.FloatDistribution(axis.low, axis.high, log=axis.log)


def create_study(mode: Mode) -> optuna.Study:
    """A new study in memory."""
    with quiet():
        return optuna.create_study(direction="maximize" if mode == "max" else "minimize")


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the log messages of Optuna in a block."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
