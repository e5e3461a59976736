"""Limits the time that a sampler takes to the time of the training."""

from __future__ import annotations

import time
from collections.abc import Callable

from probe.search.records.search import ParamValue
from probe.search.samplers.protocol import Sampler, Verdict
from probe.search.space.space import Positions
from probe.units import format_seconds

FREE_SECONDS = 10.0
"""Time that a sampler may take in any case."""


class TimeLimitedSampler:
    """A slow sampler, replaced by a quick one whenever it has taken more time than the training.

    The slow sampler learns from all trials, also from those that the quick one chose.
    """

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
