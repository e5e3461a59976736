"""TPE, the tree-structured Parzen estimator of Optuna."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.search_space import IntersectionSearchSpace

from probe.search.records.objective import Mode
from probe.search.records.search import ParamValue
from probe.search.samplers.limits import is_full, kept_in_window
from probe.search.samplers.optuna_samplers import ask_study, create_study, numpy_seed
from probe.search.samplers.protocol import Verdict
from probe.search.space.space import Positions, Space
from probe.seeds import derive_seed

STARTUP_TRIALS = 5
"""Number of random trials, including start points, before TPE decides. Optuna's 10 would be most of a small budget."""
MAX_UPDATED = 100
"""Number of trials up to which the score of a later rung replaces the first one. That requires a new study, and with more
trials the first scores say enough."""


class TPESampler:
    """TPE over an in-memory Optuna study.

    The study has one score for each trial from its first rung on, the latest. Without the scores of lower rungs, the sampler
    would know nothing for most of the budget; scores after a longer training are mostly better, so that promoted trials count
    as better than others, as in Optuna's own order of pruned trials.

    A finished Optuna trial cannot change: if the history does, the study is rebuilt at the next ask. Each ask has its own seed,
    so that a search rebuilt from its events continues as if it had not been interrupted. A long history is cut to a window, at
    points that depend only on the asks and tells before.
    """

    name = "tpe"
    exhausted = False

    def __init__(self, space: Space, *, mode: Mode, seed: int) -> None:
        self._space = space
        self._mode = mode
        self._seed = seed
        self._asked: dict[int, Mapping[str, ParamValue]] = {}
        """Trial number -> positions, in the order of the asks."""
        self._ended: dict[int, tuple[Verdict, float | None]] = {}
        """Trial number -> its latest verdict and score, in the order of the first verdicts."""
        self._study: _Study | None = None
        """None if it has to be rebuilt before the next ask."""

    def ask(self, number: int, *, at: Positions | None = None) -> dict[str, ParamValue]:
        if is_full(len(self._asked), len(self._asked) - len(self._ended)):
            self._forget()
        if at is not None:
            self._asked[number] = dict(at)
            self._study = None
            return dict(at)
        if self._study is None:
            self._study = self._rebuilt()
        self._asked[number] = self._study.ask(number, derive_seed(self._seed, number, "sampler"))
        return dict(self._asked[number])

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        if number not in self._asked:  # forgotten
            return
        was_ended = number in self._ended
        if was_ended and verdict == "scored" and len(self._asked) > MAX_UPDATED:
            return
        self._ended[number] = (verdict, value)
        if was_ended:
            self._study = None
        elif self._study is not None:
            self._study.tell(number, verdict, value)

    def discard(self, number: int) -> None:
        del self._asked[number]
        if self._study is not None:
            self._study.tell(number, "lost", None)

    def _forget(self) -> None:
        ended = [number for number in self._asked if number in self._ended]
        sign = 1.0 if self._mode == "max" else -1.0
        scores = [None if (value := self._ended[number][1]) is None else sign * value for number in ended]
        kept = {ended[index] for index in kept_in_window(scores)}
        self._asked = {n: positions for n, positions in self._asked.items() if n in kept or n not in self._ended}
        self._ended = {number: end for number, end in self._ended.items() if number in kept}
        self._study = None

    def _rebuilt(self) -> _Study:
        study = _Study(self._space, self._mode)
        for number, positions in self._asked.items():
            study.add(number, positions)
        for number, (verdict, value) in self._ended.items():
            study.tell(number, verdict, value)
        return study


class _Study:
    """An Optuna study, and its open trials."""

    def __init__(self, space: Space, mode: Mode) -> None:
        self.study = create_study(mode)
        self._space = space
        self._shared = IntersectionSearchSpace(include_pruned=True)
        self._open: dict[int, optuna.Trial] = {}

    def ask(self, number: int, seed: int) -> dict[str, ParamValue]:
        """A new trial with positions that TPE chooses."""
        self.study.sampler = _CachedTPESampler(self._shared, seed=numpy_seed(seed))
        self._open[number] = ask_study(self.study, self._space)
        return dict(self._open[number].params)

    def add(self, number: int, positions: Positions) -> None:
        """A new trial with given positions."""
        self.study.sampler = optuna.samplers.RandomSampler(seed=0)  # it draws nothing, since all positions are given
        self._open[number] = ask_study(self.study, self._space, at=positions)

    def tell(self, number: int, verdict: Verdict, value: float | None) -> None:
        trial = self._open.pop(number)
        if verdict == "scored" and value is not None:
            self.study.tell(trial, value)
        elif verdict == "lost":
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            # TPE does not see failed trials, and would try such configurations again and again.
            trial.set_constraint("infeasible", 1.0)
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)


class _CachedTPESampler(optuna.samplers.TPESampler):
    """Optuna's sampler for one ask, with a cache of the dimensions that all trials share. Finding them takes a third of the
    time of an ask with a thousand trials."""

    def __init__(self, shared: IntersectionSearchSpace, *, seed: int) -> None:
        # Multivariate over the shared dimensions, independent for conditional ones. Running trials count as bad ones
        # (constant liar), so that parallel workers spread out.
        super().__init__(seed=seed, n_startup_trials=STARTUP_TRIALS, constant_liar=True)
        self._shared = shared

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        found = self._shared.calculate(study, use_cache=True)
        return {name: distribution for name, distribution in found.items() if not distribution.single()}
