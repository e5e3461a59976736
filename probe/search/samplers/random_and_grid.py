"""Samplers that learn nothing from what they are told."""

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
    """Optuna's random sampler. It remembers nothing, so that a trial of a long search costs no more than one of a short
    one."""

    name = "random"
    exhausted = False

    def __init__(self, space: Space, *, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._study = create_study("max")
        self._study.ask()
        [self._nobody] = self._study.get_trials()

    def ask(self, number: int, *, at: Positions | None = None) -> dict[str, ParamValue]:
        if at is not None:
            return dict(at)
        sampler = optuna.samplers.RandomSampler(seed=numpy_seed(derive_seed(self._seed, number, "sampler")))
        return draw(self._space, lambda axis: self._draw(sampler, axis))

    def _draw(self, sampler: optuna.samplers.RandomSampler, axis: Axis) -> ParamValue:
        """As a trial of Optuna's would suggest it, without one for every ask, which takes longer than the draws."""
        wanted = distribution(axis)
        if wanted.single():  # nothing is drawn
            return (
                axis.choices[0] if axis.kind == "choices" else int(axis.low) if axis.kind == "int" else float(axis.low)
            )
        # The sampler looks at neither the study nor the trial.
        drawn: ParamValue = sampler.sample_independent(self._study, self._nobody, axis.name, wanted)
        return drawn

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        """Nothing is learned."""

    def discard(self, number: int) -> None:
        """Nothing was noted; whoever asks again for this number gives the positions."""


class GridSampler:
    """Optuna's grid sampler over the numbers of the grid's configurations, so that no configuration comes twice where
    some hyperparameters do not always exist.

    It is told nothing: its last `tell` would raise, as it means to stop a loop of Optuna's.
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
        """Nothing is learned."""

    def discard(self, number: int) -> None:
        """Nothing was noted."""
