"""Which configurations of a space have been tried."""

from __future__ import annotations

import math
from collections.abc import Iterable

from probe.errors import RecipeError
from probe.search.records import ParamValue
from probe.search.space import Params, Space, configuration_key, configuration_keys, pick_untried
from probe.search.state import Trial


class TriedConfigurations:
    """Those of the trials so far, and how many are left of a space that can be listed."""

    def __init__(self, space: Space, trials: Iterable[Trial]) -> None:
        self._space = space
        self._tried = {configuration_key(trial.params) for trial in trials}
        keys = configuration_keys(space)
        self._left = None if keys is None else keys - self._tried

    def __contains__(self, params: Params) -> bool:
        return configuration_key(params) in self._tried

    @property
    def is_listed(self) -> bool:
        return self._left is not None

    @property
    def num_left(self) -> float:
        """Configurations of the space that were not tried; infinity where it is not listed. Start points may lie outside."""
        return math.inf if self._left is None else len(self._left)

    def add(self, params: Params) -> None:
        key = configuration_key(params)
        self._tried.add(key)
        if self._left is not None:
            self._left.discard(key)

    def pick_another(self, *, seed: int) -> dict[str, ParamValue]:
        """A configuration that was not tried. Raises RecipeError where there is none."""
        found = pick_untried(self._space, self._tried, seed=seed)
        if found is None:
            raise RecipeError("Every configuration of the space has been tried.")
        return found
