"""Bayesian optimization: the next trial is where a Gaussian process expects the largest improvement.

Each score of each rung is an observation of its own. The expected improvement is that of the score after the longest training;
the process learns how much the scores of shorter trainings say about it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from probe.search.records.objective import Mode
from probe.search.records.search import ParamValue
from probe.search.samplers.acquisition import log_expected_improvement, log_probability_above, most_promising
from probe.search.samplers.encoding import Encoder, Numbers
from probe.search.samplers.gaussian_process import (
    GaussianProcess,
    KernelParameters,
    Observations,
    fit_parameters,
    standardized,
)
from probe.search.samplers.limits import KEPT_BEST, KEPT_LATEST, kept_in_window
from probe.search.samplers.protocol import Verdict
from probe.search.space.space import Positions, Space
from probe.seeds import derive_seed

INITIAL_TRIALS = 8
"""Number of first trials that are start points or random."""
EXPLORED_EVERY = 8
"""One of that many later trials is random, so that a model that is wrong about a part of the space is corrected (as in SMAC,
Hutter, Hoos & Leyton-Brown 2011)."""
MAX_ROWS = KEPT_BEST + KEPT_LATEST
"""Number of scores that the process is conditioned on: the best and the latest. Its cost grows with their cube."""
MAX_FIT_ROWS = 200
"""Number of scores that the kernel's parameters are fitted to."""
REFIT = 1.1
"""The parameters are fitted again when the number of scores has grown by this factor."""
MEDIOCRE = 0.25
"""Quantile of the scores that is the score of an infeasible configuration."""
NUM_BEST = 10
"""Number of best configurations in whose neighbourhoods the next one is searched."""


class _Row(NamedTuple):
    number: int
    rung: int
    value: float


class BayesianSampler:
    """The sampler `gp`. Every ask is a function of the asks and tells before it, so that a replayed search continues as if it
    had not been interrupted.

    The expected improvement is multiplied by the probability that a configuration is feasible, from a second process (Gardner
    et al. 2014, Bayesian Optimization with Inequality Constraints). In the model of the scores, an infeasible configuration has
    a mediocre score: the worst score would distort the model around it, and without a score the improvement expected beyond the
    border of the feasible region would attract one trial after the other.

    A running trial counts with the score that is expected of it after the longest training, so that parallel trials spread out
    (the kriging believer, Ginsbourger, Le Riche & Carraro 2010).
    """

    name = "gp"
    exhausted = False

    def __init__(self, space: Space, *, mode: Mode, seed: int, num_rungs: int = 1) -> None:
        self._encoder = Encoder(space)
        self._sign = 1.0 if mode == "max" else -1.0
        self._seed = seed
        self._top = num_rungs - 1
        self._codes: dict[int, Numbers] = {}
        self._rungs: dict[int, int] = {}
        """Trial number -> number of rungs that it finished."""
        self._over: set[int] = set()
        self._scores: list[_Row] = []
        self._feasible: list[_Row] = []
        """Rows with value 1 for scored and -1 for infeasible trials. If a trial has several rows, the last one counts."""
        self._fitted: dict[str, tuple[int, KernelParameters]] = {}

    def ask(self, number: int, *, at: Positions | None = None) -> dict[str, ParamValue]:
        if at is not None:
            self._codes[number] = self._encoder.encode(at)
            return dict(at)
        self._codes[number] = self._next(number)
        return self._encoder.decode(self._codes[number])

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        self._over.add(number)
        if verdict == "lost":
            return
        rung = self._rungs.get(number, 0)
        is_feasible = verdict == "scored" and value is not None
        if not is_feasible or rung == 0:
            self._feasible.append(_Row(number, 0, 1.0 if is_feasible else -1.0))
        if verdict == "scored":
            self._rungs[number] = rung + 1
            if value is not None:
                self._scores.append(_Row(number, rung, self._sign * value))

    def discard(self, number: int) -> None:
        del self._codes[number]

    def _next(self, number: int) -> Numbers:
        generator = np.random.default_rng(derive_seed(self._seed, number, "sampler"))
        is_random = number < INITIAL_TRIALS or number % EXPLORED_EVERY == EXPLORED_EVERY - 1
        if is_random or len(self._scores) < 2:
            code: Numbers = self._encoder.snapped(generator.random((1, self._encoder.num_dimensions)))[0]
            return code
        with one_thread():
            return self._most_promising(generator)

    def _most_promising(self, generator: np.random.Generator) -> Numbers:
        # The incumbent is the best expected score of a finished configuration, as scores are noisy.
        scores = self._scores_process()
        feasibility = self._feasibility_process()
        codes = np.stack([self._codes[number] for number in self._rungs])
        means, _ = scores.predict(self._encoder.features(codes), self._top)

        def acquisition(candidates: Numbers) -> Numbers:
            features = self._encoder.features(candidates)
            # Log of the constrained expected improvement (Gardner et al. 2014).
            value = log_expected_improvement(*scores.predict(features, self._top), best=float(means.max()))
            if feasibility is not None:
                value = value + log_probability_above(*feasibility.predict(features, 0), threshold=0.0)
            return value

        tried = {code.tobytes() for code in self._codes.values()}
        return most_promising(
            self._encoder,
            acquisition,
            known=codes[np.argsort(-means, kind="stable")[:NUM_BEST]],
            is_tried=lambda candidates: np.array([code.tobytes() in tried for code in candidates]),
            generator=generator,
        )

    def _scores_process(self) -> GaussianProcess:
        parameters = self._parameters("scores", self._scores)
        observed = self._observed_scores(_window(self._scores))
        infeasible = [row.number for row in _latest(self._feasible) if row.value < 0]
        if infeasible:  # they get a mediocre score
            mediocre = np.full(len(infeasible), np.quantile(observed.values, MEDIOCRE))
            observed = observed.with_rows(self._features(infeasible), self._top, mediocre)
        process = GaussianProcess(parameters, observed, self._encoder.groups)
        running = [number for number in self._codes if number not in self._over]
        if not running:
            return process
        features = self._features(running)  # kriging believer: condition on the expected scores of running trials
        expected, _ = process.predict(features, self._top)
        return GaussianProcess(parameters, observed.with_rows(features, self._top, expected), self._encoder.groups)

    def _feasibility_process(self) -> GaussianProcess | None:
        """The process of feasibility; None if no trial was infeasible."""
        if all(row.value > 0 for row in self._feasible):
            return None
        parameters = self._parameters("feasible", self._feasible)
        return GaussianProcess(parameters, self._observations(_latest(self._feasible)), self._encoder.groups)

    def _parameters(self, of: Literal["scores", "feasible"], rows: Sequence[_Row]) -> KernelParameters:
        """Parameters fitted to the first rows, whose number grows by a schedule. Until it grows, the last fit is used again."""
        size = _fitted_size(len(rows))
        known, parameters = self._fitted.get(of, (0, None))
        if parameters is None or known != size:
            first = rows[:size]
            if of == "scores":
                observed = self._observed_scores(_thinned(first))
            else:
                observed = self._observations(_thinned(_latest(first)))
            parameters = fit_parameters(observed, self._encoder.groups)
            self._fitted[of] = (size, parameters)
        return parameters

    def _features(self, numbers: Sequence[int]) -> Numbers:
        return self._encoder.features(np.stack([self._codes[number] for number in numbers]))

    def _observed_scores(self, rows: Sequence[_Row]) -> Observations:
        observed = self._observations(rows)
        return replace(observed, values=standardized(observed.values))

    def _observations(self, rows: Sequence[_Row]) -> Observations:
        return Observations(
            features=self._features([row.number for row in rows]),
            rungs=np.array([row.rung for row in rows]),
            values=np.array([row.value for row in rows]),
        )


def _fitted_size(num_rows: int) -> int:
    """The largest number of rows in the fitting schedule that is not above `num_rows`."""
    size = 2
    while (larger := max(size + 1, math.floor(REFIT * size))) <= num_rows:
        size = larger
    return size


def _thinned(rows: Sequence[_Row]) -> Sequence[_Row]:
    return rows if len(rows) <= MAX_FIT_ROWS else [rows[i * len(rows) // MAX_FIT_ROWS] for i in range(MAX_FIT_ROWS)]


def _window(rows: Sequence[_Row]) -> Sequence[_Row]:
    """The best and the latest rows, at most MAX_ROWS."""
    if len(rows) <= MAX_ROWS:
        return rows
    return [rows[index] for index in kept_in_window([row.value for row in rows])]


def _latest(rows: Sequence[_Row]) -> Sequence[_Row]:
    """The last row of each trial, for the latest MAX_ROWS trials."""
    return list({row.number: row for row in rows}.values())[-MAX_ROWS:]


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Run linear algebra on one thread, since the other cores are for the trials."""
    with _threads().limit(limits=1, user_api="blas"):
        yield
