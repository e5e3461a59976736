"""Which configurations of a space have been tried, and what to try instead of one that has been. No configuration is trained
twice unless the user asks for it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable

from probe.errors import RecipeError
from probe.search.records.search import ParamValue
from probe.search.space.configurations import configurations, listed_configurations, with_fixed
from probe.search.space.space import (
    Axis,
    Params,
    Positions,
    Space,
    complete,
    configuration_key,
    draw,
    params_at,
    random_suggest,
)
from probe.search.study.state import Trial
from probe.seeds import derive_seed

MAX_DRAWS = 100
"""Then the configurations are gone through one by one: little of the space is left."""


class TriedConfigurations:
    """Those of the trials so far, and whether any are left."""

    def __init__(self, space: Space, trials: Iterable[Trial]) -> None:
        self._space = space
        self._tried = {configuration_key(trial.params) for trial in trials}
        listed = listed_configurations(space)
        self._left = None if listed is None else {configuration_key(params) for params in listed} - self._tried
        """None: too many to list."""
        self._rest = configurations(space)
        self._first = next(self._rest, None)
        """All before it were tried; None: all of the space were."""

    def __contains__(self, params: Params) -> bool:
        return configuration_key(params) in self._tried

    @property
    def num_left(self) -> float:
        """Configurations of the space that were not tried; infinity where there are some and the space is not listed. Start
        points may lie outside."""
        if self._left is not None:
            return len(self._left)
        return math.inf if self._first_untried() is not None else 0

    def add(self, params: Params) -> None:
        key = configuration_key(params)
        self._tried.add(key)
        if self._left is not None:
            self._left.discard(key)

    def pick_another(self, positions: Positions, *, seed: int) -> dict[str, ParamValue]:
        """A configuration that was not tried, instead of the one at `positions`: at first with one of its hyperparameters drawn
        anew at random, then with more and more of them. Raises RecipeError where there is none."""
        suggest, generator = random_suggest(seed), random.Random(derive_seed(seed, "redrawn"))
        names = list(positions)
        for turn in range(MAX_DRAWS):
            redrawn = set(generator.sample(names, 1 + turn * len(names) // MAX_DRAWS)) if names else set()
            kept = {name: position for name, position in positions.items() if name not in redrawn}
            drawn = draw(self._space, _keeping(kept, suggest))
            params = params_at(self._space, drawn)
            if params not in self:
                return params
        found = self._first_untried()
        if found is None:
            raise RecipeError("Every configuration of the space has been tried.")
        return dict(found)

    def complete(self, given: Params, *, seed: int) -> dict[str, ParamValue]:
        """The configuration of a start point. What `given` leaves open is drawn so that the whole was not tried; where all such
        were, one of them is tried again, as the user asks."""
        for turn in range(MAX_DRAWS):
            params = complete(self._space, given, seed=derive_seed(seed, turn, "again") if turn else seed)
            if params not in self:
                return params
        others = (other for other in configurations(with_fixed(self._space, given)) if other not in self)
        return next(others, params)

    def _first_untried(self) -> Params | None:
        """Over a whole search each configuration is looked at once."""
        while self._first is not None and self._first in self:
            self._first = next(self._rest, None)
        return self._first


def _keeping(kept: Positions, suggest: Callable[[Axis], ParamValue]) -> Callable[[Axis], ParamValue]:
    """Draws on all axes but those in `kept`."""
    return lambda axis: kept[axis.name] if axis.name in kept else suggest(axis)
