"""Limits on a slow sampler in a long search: the trials that it learns from, and the time that it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from probe.search.records.search import ParamValue
from probe.search.samplers.protocol import Sampler, Verdict
from probe.search.space.space import Positions
from probe.units import format_count, format_seconds

WINDOW = 1000
"""Number of trials that TPE learns from at most, besides running ones. Optuna's time for an ask grows in proportion to it; with
5,000 trials, TPE takes 48 ms."""
KEPT_BEST = 250
KEPT_LATEST = 250
MIN_FORGOTTEN = 250
"""Number of trials that are forgotten at a time: the others are then passed to Optuna again, which takes as long as dozens of
asks."""
FREE_SECONDS = 10.0
"""Time that a sampler may take in any case."""


def is_full(num_trials: int, num_unfinished: int) -> bool:
    """Whether a sampler with `num_trials` should forget some. Running trials are never forgotten, so that with hundreds of
    slots it may have more than WINDOW."""
    return num_trials > max(WINDOW, num_unfinished + KEPT_BEST + KEPT_LATEST + MIN_FORGOTTEN)


def kept_in_window(scores: Sequence[float | None]) -> list[int]:
    """Indices of the KEPT_BEST largest scores and of the KEPT_LATEST last other ones, in ascending order.

    TPE loses nothing of its model of good trials, which uses at most 25. Its model of the others becomes one of the
    latest.
    """
    ranked = sorted((-score, index) for index, score in enumerate(scores) if score is not None)
    best = {index for _, index in ranked[:KEPT_BEST]}
    others = [index for index in range(len(scores)) if index not in best]
    return sorted(best | set(others[-KEPT_LATEST:]))


def window_warning(sampler: str, num_trials: int) -> str | None:
    """A warning if a search had more trials than its sampler learned from; otherwise None."""
    if sampler != "tpe" or num_trials <= WINDOW:
        return None
    return (
        f"TPE learned from at most {format_count(WINDOW)} of the {format_count(num_trials)} trials at a time, the best and the "
        "latest ones, since its time for each choice grows with their number."
    )


class TimeLimitedSampler:
    """A slow sampler, replaced by a quick one whenever it has taken more time than the training. It learns from all
    trials, also from those that the quick one chose."""

    def __init__(
        self,
        sampler: Sampler,
        quick: Sampler,
        *,
        training_seconds: Callable[[], float],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`training_seconds()` returns the wall-clock time that trials have trained so far."""
        self.name = sampler.name
        self._sampler = sampler
        self._quick = quick
        self._training_seconds = training_seconds
        self._clock = clock
        self._asking_seconds = 0.0
        self._num_asked = 0
        self._num_quick = 0

    @property
    def exhausted(self) -> bool:
        return self._sampler.exhausted

    @property
    def warning(self) -> str | None:
        """A warning if the quick sampler chose configurations; otherwise None."""
        if not self._num_quick:
            return None
        return (
            f"{self.name} took {format_seconds(self._asking_seconds)} to choose {self._num_asked} configurations, longer than "
            f"the training, so {self._quick.name} chose the other {self._num_quick}. Set sampler = "
            f'"{self.name}" in the recipe to let it choose all of them.'
        )

    def ask(self, number: int, *, at: Positions | None = None) -> dict[str, ParamValue]:
        if at is not None:
            return self._sampler.ask(number, at=at)
        if self._asking_seconds > FREE_SECONDS + self._training_seconds():
            self._num_quick += 1
            return self._sampler.ask(number, at=self._quick.ask(number))
        started = self._clock()
        positions = self._sampler.ask(number)
        self._asking_seconds += self._clock() - started
        self._num_asked += 1
        return positions

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        self._sampler.tell(number, verdict, value)

    def discard(self, number: int) -> None:
        self._sampler.discard(number)
