"""How often a search shows what runs."""

from __future__ import annotations

import math

from probe.search.records.search import BestTrial

SHOW_SECONDS = 0.1
"""Between two records of all that runs, which nobody looks at more often: with a thousand slots each takes a millisecond."""


class Pacing:
    """Says of a moment whether a record is due: some time after the last one, and at once where another trial is best. What
    is not shown then is shown after the next poll, which comes soon."""

    def __init__(self) -> None:
        self._shown_at = -math.inf
        self._best: BestTrial | None = None

    def is_due(self, now_seconds: float, best: BestTrial | None) -> bool:
        if best is self._best and now_seconds - self._shown_at < SHOW_SECONDS:
            return False
        self._shown_at, self._best = now_seconds, best
        return True
