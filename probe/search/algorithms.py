"""What to try next: Optuna's samplers behind a small protocol. The only module that imports Optuna.

The Optuna study lives in memory and is told a trial's score on the *first* rung, once: scores of different lengths of training
do not compare, and waiting for the last rung would leave the sampler blind for most of the budget. Every ask starts
from its own seed, so that a study rebuilt from its trials goes on exactly as the one that was never interrupted.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import optuna

from probe.errors import RecipeError, unknown_name
from probe.search.ladder import Mode
from probe.search.records import Dimension, ParamValue
from probe.search.space import Axis, Positions, Space, axis_of, draw
from probe.seeds import derive_seed

SAMPLER_NAMES = ("auto", "random", "tpe")
MIN_TRIALS_FOR_IMPORTANCE = 8
Verdict = Literal["scored", "infeasible", "lost"]
"""infeasible: out of memory or diverged, which the sampler should learn to avoid. lost: says nothing about the
configuration."""


class Sampler(Protocol):
    """Decides positions in a space. Trials are asked for in the order of their numbers."""

    @property
    def name(self) -> str: ...

    def ask(self, number: int, *, at: Positions | None = None) -> dict[str, ParamValue]:
        """Positions for trial `number`: the sampler's choice, or those given."""

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        """The end of the first rung of a trial; or of a later one, where a trial that was scored turns out infeasible."""

    def discard(self, number: int) -> None:
        """Forget the last ask, a configuration that was tried before; the number will be asked for again."""


def make_sampler(name: str, space: Space, *, mode: Mode, seed: int) -> Sampler:
    """`auto` is TPE. Raises RecipeError for a name that is not there."""
    if name not in SAMPLER_NAMES:
        message, hint = unknown_name("sampler", name, SAMPLER_NAMES)
        raise RecipeError(message, hint=hint)
    return OptunaSampler("tpe" if name == "auto" else name, space, mode=mode, seed=seed)


@dataclass(slots=True)
class _Entry:
    number: int
    positions: Mapping[str, ParamValue]
    verdict: Verdict | None = None
    value: float | None = None


class OptunaSampler:
    """One of Optuna's samplers over an in-memory study, which is rebuilt from `_entries` where history changes."""

    def __init__(self, name: str, space: Space, *, mode: Mode, seed: int) -> None:
        self.name = name
        self._space = space
        self._mode = mode
        self._seed = seed
        self._entries: list[_Entry] = []
        self._by_number: dict[int, tuple[_Entry, optuna.Trial]] = {}
        self._study = _create_study(self._mode)

    def ask(self, number: int, *, at: Positions | None = None) -> dict[str, ParamValue]:
        entry = _Entry(number, {})
        trial = self._open(entry, at)
        entry.positions = dict(trial.params)
        self._entries.append(entry)
        return dict(trial.params)

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        entry, trial = self._by_number[number]
        told_before = entry.verdict is not None
        entry.verdict, entry.value = verdict, value
        if told_before:
            self._rebuild()
        else:
            _close(self._study, trial, entry)

    def discard(self, number: int) -> None:
        entry, trial = self._by_number.pop(number)
        entry.verdict = "lost"
        _close(self._study, trial, entry)

    def _open(self, entry: _Entry, at: Positions | None) -> optuna.Trial:
        if at is None:
            self._study.sampler = _seeded(self.name, derive_seed(self._seed, entry.number, "sampler"))
        else:
            self._study.sampler = optuna.samplers.RandomSampler(seed=0)  # draws nothing: all positions are given
            self._study.enqueue_trial(dict(at))
        trial = self._study.ask()
        draw(self._space, lambda axis: _suggest(trial, axis))
        self._by_number[entry.number] = (entry, trial)
        return trial

    def _rebuild(self) -> None:
        self._study = _create_study(self._mode)
        self._by_number.clear()
        for entry in self._entries:
            trial = self._open(entry, entry.positions)
            if entry.verdict is not None:
                _close(self._study, trial, entry)


def importance(
    dimensions: Sequence[Dimension],
    scored: Sequence[tuple[Positions, float]],
    *,
    mode: Mode,
) -> dict[str, float]:
    """Share of each hyperparameter in what sets the best trials apart, by PED-ANOVA, largest first; they sum to 1.

    PED-ANOVA (Watanabe et al. 2023, https://arxiv.org/abs/2304.10255) compares where the top trials lie with where all lie.
    `scored` holds positions and scores of equally long trained trials. Empty with fewer than MIN_TRIALS_FOR_IMPORTANCE of them,
    or where they do not differ.
    """
    if len(scored) < MIN_TRIALS_FOR_IMPORTANCE or len({value for _, value in scored}) < 2:
        return {}
    axes = {axis.name: (axis, dimension.name) for dimension in dimensions for axis in (axis_of(dimension),)}
    study = _create_study(mode)
    for positions, value in scored:
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(positions),
                distributions={name: _distribution(axes[name][0]) for name in positions},
                value=value,
            )
        )
    # At least five trials in the top group, as the evaluator's documentation asks for.
    top = min(0.5, max(0.1, 5 / len(scored)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.simplefilter("ignore", UserWarning)  # equal groups: the shares come out as zeros and are dropped below
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=top)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)
    total = sum(shares.values())
    if not total > 0:
        return {}
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    return {axes[name][1]: share / total for name, share in ranked}


def _seeded(name: str, seed: int) -> optuna.samplers.BaseSampler:
    seed %= 2**32  # what NumPy's generators take
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    # Multivariate over what all trials share, independent for conditional hyperparameters; running trials count as
    # bad ones, so that parallel workers spread out.
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def _suggest(trial: optuna.Trial, axis: Axis) -> ParamValue:
    if axis.kind == "choices":
        return axis.choices[axis.choices.index(trial.suggest_categorical(axis.name, axis.choices))]
    if axis.kind == "int":
        return trial.suggest_int(axis.name, int(axis.low), int(axis.high), log=axis.log)
    return trial.suggest_float(axis.name, axis.low, axis.high, log=axis.log)


def _distribution(axis: Axis) -> optuna.distributions.BaseDistribution:
    if axis.kind == "choices":
        return optuna.distributions.CategoricalDistribution(axis.choices)
    if axis.kind == "int":
        return optuna.distributions.IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return optuna.distributions.FloatDistribution(axis.low, axis.high, log=axis.log)


def _close(study: optuna.Study, trial: optuna.Trial, entry: _Entry) -> None:
    if entry.verdict == "scored":
        study.tell(trial, entry.value)
    elif entry.verdict == "infeasible":
        # Told as failed it would be invisible, and TPE walks into the same wall again and again.
        trial.set_constraint("infeasible", 1.0)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _create_study(mode: Mode) -> optuna.Study:
    with _quiet():
        return optuna.create_study(direction="maximize" if mode == "max" else "minimize")


@contextmanager
def _quiet() -> Iterator[None]:
    """Creating a study logs a line; the user's own level is back afterwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
