"""Random and grid search, and Optuna's samplers that store their state in a study: CMA-ES, evolutionary, and QMC."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import optuna

from probe.errors import RecipeError
from probe.search.records.objective import Mode
from probe.search.records.search import ParamValue
from probe.search.samplers.protocol import Verdict
from probe.search.space.configurations import grid, on_grid
from probe.search.space.space import Axis, Positions, Space, draw
from probe.seeds import derive_seed

POPULATION = 10
"""Population size of the evolutionary sampler. With Optuna's 50, a typical search would be a single random generation."""


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
        self, name: str, make: Callable[[int, int], optuna.samplers.BaseSampler], space: Space, *, mode: Mode, seed: int
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


class RandomSampler:
    """Optuna's random sampler, without a history, so that each ask takes the same time however long the search is."""

    name = "random"
    exhausted = False

    def __init__(self, space: Space, *, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._study = create_study("max")
        self._study.ask()
        [self._trial] = self._study.get_trials()

    def ask(self, number: int, *, at: Positions | None = None) -> dict[str, ParamValue]:
        if at is not None:
            return dict(at)
        sampler = optuna.samplers.RandomSampler(seed=numpy_seed(derive_seed(self._seed, number, "sampler")))
        return draw(self._space, lambda axis: self._draw(sampler, axis))

    def _draw(self, sampler: optuna.samplers.RandomSampler, axis: Axis) -> ParamValue:
        """What a trial of Optuna would suggest, without creating one, which takes longer than the draw."""
        wanted = distribution(axis)
        if wanted.single():  # Optuna draws nothing
            return (
                axis.choices[0] if axis.kind == "choices" else int(axis.low) if axis.kind == "int" else float(axis.low)
            )
        # The random sampler uses neither the study nor the trial.
        drawn: ParamValue = sampler.sample_independent(self._study, self._trial, axis.name, wanted)
        return drawn

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        """Random search does not use scores."""

    def discard(self, number: int) -> None:
        """Nothing to forget."""


class GridSampler:
    """Optuna's grid sampler over the indices of the grid's configurations, so that conditional hyperparameters repeat
    none. Scores are not passed on to Optuna, whose last `tell` would raise to stop its own loop."""

    name = "grid"

    def __init__(self, space: Space, *, seed: int) -> None:
        self._space = space
        self._points = grid(space)
        self._left = {on_grid(space, point) for point in self._points}
        self._study = create_study("max")
        numbers = list(range(len(self._points)))
        self._study.sampler = optuna.samplers.GridSampler(
            {"point": numbers}, seed=numpy_seed(derive_seed(seed, "grid"))
        )

    @property
    def exhausted(self) -> bool:
        return not self._left

    def ask(self, number: int, *, at: Positions | None = None) -> dict[str, ParamValue]:
        if at is not None:
            self._left.discard(on_grid(self._space, at))
            return dict(at)
        while self._left:
            point = self._points[self._study.ask().suggest_int("point", 0, len(self._points) - 1)]
            key = on_grid(self._space, point)
            if key in self._left:
                self._left.remove(key)
                return dict(point)
        raise RecipeError("Every configuration of the grid has been tried.")

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        """Grid search does not use scores."""

    def discard(self, number: int) -> None:
        """Nothing to forget."""
