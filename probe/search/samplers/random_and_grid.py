"""Random search and grid search, which do not use scores."""

from __future__ import annotations

import optuna

from probe.errors import RecipeError
from probe.search.records.search import ParamValue
from probe.search.samplers.optuna_study import create_study, distribution, numpy_seed
from probe.search.samplers.protocol import Verdict
from probe.search.space.grid import grid, on_grid
from probe.search.space.space import Axis, Positions, Space, draw
from probe.seeds import derive_seed


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
    """Optuna's grid sampler over the indices of the grid's configurations, so that conditional hyperparameters repeat none.

    Scores are not passed on to Optuna, whose last `tell` would raise to stop its own loop.
    """

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
