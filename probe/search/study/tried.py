"""Which configurations of a space have been tried, and alternatives to a repeated one.

No configuration is trained twice, unless the user asks for it by a start point.
"""

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
from probe.search.study.trial import Trial
from probe.seeds import derive_seed

MAX_DRAWS = 100
"""Random draws before configurations are enumerated, because little of the space is left."""


class TriedConfigurations:
    """The configurations of the trials so far, and how many are left."""

    def __init__(self, space: Space, trials: Iterable[Trial]) -> None:
        self._space = space
        self._tried = {configuration_key(trial.params) for trial in trials}
        listed = listed_configurations(space)
        self._left = None if listed is None else {configuration_key(params) for params in listed} - self._tried
        """None if the space has too many configurations to list."""
        self._rest = configurations(space)
        self._first = next(self._rest, None)
        """All configurations before this one were tried; None if all of the space were."""

    def __contains__(self, params: Params) -> bool:
        return configuration_key(params) in self._tried

    @property
    def num_left(self) -> float:
        """Number of configurations of the space that were not tried; infinity if the space is too large to list."""
        if self._left is not None:
            return len(self._left)
        return math.inf if self._first_untried() is not None else 0

    def add(self, params: Params) -> None:
        """Mark a configuration as tried. It may be outside of the space, as start points can be."""
        key = configuration_key(params)
        self._tried.add(key)
        if self._left is not None:
            self._left.discard(key)

    def pick_another(self, positions: Positions, *, seed: int) -> dict[str, ParamValue]:
        """Return an untried configuration in place of the one at `positions`: one of its hyperparameters is redrawn at
        random, then more and more of them. Raises RecipeError if none is left."""
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
        """Return the whole configuration of a start point. What `given` leaves open is drawn, if possible untried."""
        for turn in range(MAX_DRAWS):
            params = complete(self._space, given, seed=derive_seed(seed, turn, "again") if turn else seed)
            if params not in self:
                return params
        others = (other for other in configurations(with_fixed(self._space, given)) if other not in self)
        return next(others, params)

    def _first_untried(self) -> Params | None:
        """The first untried configuration. Over a whole search, each configuration is enumerated once."""
        while self._first is not None and self._first in self:
            self._first = next(self._rest, None)
        return self._first


def _keeping(kept: Positions, suggest: Callable[[Axis], ParamValue]) -> Callable[[Axis], ParamValue]:
    """A function that suggests positions on all axes but those in `kept`."""
    return lambda axis: kept[axis.name] if axis.name in kept else suggest(axis)
