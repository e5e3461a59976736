"""Optuna's samplers that store their own state in the study: CMA-ES, an evolutionary algorithm, and QMC."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import optuna

from probe.search.records.objective import Mode
from probe.search.records.search import ParamValue
from probe.search.samplers.optuna_study import ask_study, create_study, numpy_seed
from probe.search.samplers.protocol import Verdict
from probe.search.space.space import Positions, Space
from probe.seeds import derive_seed

POPULATION = 10
"""Population size of the evolutionary sampler. With Optuna's 50, a typical search would be a single random generation."""


class OptunaSampler:
    """A sampler of Optuna over an in-memory study.

    The state of these samplers (a covariance, a generation, the position in a sequence) is stored in the study by each ask, and
    depends on Optuna's trial numbers. Hence each trial of the search has two Optuna trials, whether its positions are chosen
    here, given as a start point, or restored from a file: the first one is the sampler's proposal, the second one the positions
    that were given instead. A trial whose proposal was used has a failed second one.

    A trial counts with the score of its first rung, since the state depends on it. If a scored trial fails on a later rung, the
    study is rebuilt.
    """

    exhausted = False

    def __init__(
        self,
        name: str,
        make: Callable[[int, int], optuna.samplers.BaseSampler],
        space: Space,
        *,
        mode: Mode,
        seed: int,
    ) -> None:
        """`make(seed of the search, trial number)` makes Optuna's sampler for one ask."""
        self.name = name
        self._make = make
        self._space = space
        self._mode: Mode = mode
        self._seed = seed
        self._asked: dict[int, Positions] = {}
        self._ended: dict[int, tuple[Verdict, float | None]] = {}
        self._start_study()

    def _start_study(self) -> None:
        self._study = create_study(self._mode)
        self._open: dict[int, optuna.Trial] = {}
        self._scores: list[float] = []

    def ask(self, number: int, *, at: Positions | None = None) -> dict[str, ParamValue]:
        while self._num_trials < 2 * number:  # the proposals of the trials before were used
            self._study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
        self._study.sampler = self._make(self._seed, number)
        if self._num_trials > 2 * number:  # the proposal was discarded
            trial = ask_study(self._study, self._space, at=at)
        else:
            trial = ask_study(self._study, self._space)
            if at is not None and dict(trial.params) != dict(at):
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
                trial = ask_study(self._study, self._space, at=at)
        self._open[number] = trial
        self._asked[number] = dict(trial.params)
        return dict(trial.params)

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        if number in self._ended:
            if verdict != "scored":
                self._ended[number] = (verdict, value)
                self._rebuild()
            return
        self._ended[number] = (verdict, value)
        self._close(number, verdict, value)

    def _close(self, number: int, verdict: Verdict, value: float | None) -> None:
        trial = self._open.pop(number)
        if verdict == "scored" and value is not None:
            self._scores.append(value)
            self._study.tell(trial, value)
        elif verdict == "lost" or not self._scores:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            # These samplers learn from completed trials only. The worst score so far keeps them away from the configuration
            # without distorting a fit.
            self._study.tell(trial, (min if self._mode == "max" else max)(self._scores))

    def _rebuild(self) -> None:
        self._start_study()
        for number, positions in list(self._asked.items()):
            self.ask(number, at=positions)
            if number in self._ended:
                self._close(number, *self._ended[number])

    def discard(self, number: int) -> None:
        del self._asked[number]
        self._study.tell(self._open.pop(number), state=optuna.trial.TrialState.FAIL)

    @property
    def _num_trials(self) -> int:
        return len(self._study.get_trials(deepcopy=False))


def cma_es(seed: int, number: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.CmaEsSampler(seed=_ask_seed(seed, number), warn_independent_sampling=False)


def evolutionary(seed: int, number: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.NSGAIISampler(seed=_ask_seed(seed, number), population_size=POPULATION)


def qmc(seed: int, number: int) -> optuna.samplers.BaseSampler:
    # All draws are points of one sequence, so all asks have one seed. A Sobol sequence that is not scrambled starts in the
    # lowest corner of the space.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.QMCSampler(
            scramble=True, seed=numpy_seed(derive_seed(seed, "sampler")), warn_independent_sampling=False
        )


def _ask_seed(seed: int, number: int) -> int:
    return numpy_seed(derive_seed(seed, number, "sampler"))
