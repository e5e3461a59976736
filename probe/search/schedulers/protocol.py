"""The interface of schedulers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Rule = Literal["published", "closing", "open"]
"""Which trials may be promoted from a rung.

published: a trial among the best floor(n / factor) of n, while fewer than that have been promoted.
closing, for a search that starts no new trials: the best trials until ceil(n / factor) have been promoted, so that every rung
    promotes at least one.
open: the best trial.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """Trial `number` may train on to the end of rung `rung`, an index into the scheduler's rungs."""

    number: int
    rung: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Upper bounds, from the budget, on what the rest of a search may hold."""

    first_new: int
    """Number of the next new trial."""
    new_trials: float
    """How many trials may still start."""
    epochs: float
    """Epochs that all unfinished jobs may still cost."""
    open_epochs: float
    """The part of these epochs that promotions by the rule `open` may cost."""
    prices: Sequence[float]
    """Least cost in epochs of training to each rung, for a trial that does not fail on it."""
    on_the_way: Mapping[int, int]
    """Trial number -> target rung, for each trial that is running or about to run."""

    def num_affordable(self, rung: int) -> float:
        """How many trials the epochs can train to `rung`."""
        return math.inf if math.isinf(self.epochs) else self.epochs // self.prices[rung]

    def num_open(self, rung: int) -> int:
        """How many trials may be promoted to `rung` by the rule `open`."""
        return int(self.open_epochs // self.prices[rung])

    def num_on_the_way(self, rung: int) -> int:
        """How many trials are training to `rung`."""
        return sum(target == rung for target in self.on_the_way.values())


class Scheduler(Protocol):
    """Ranks trials on rungs and promotes the best ones. Each trial calls `enter` once, and for each rung one of `record`,
    `complete`, `fail` and `drop`. No other method but `promote` changes the scheduler's state."""

    rungs: tuple[int, ...]
    """The rungs in ascending order; see FidelitySchedule for their unit."""
    costs: tuple[float, ...]
    """Cost in epochs of training from each rung's predecessor to the rung."""

    @property
    def top(self) -> int:
        """Index of the last rung."""

    def enter(self, number: int) -> None:
        """Trial `number` starts training to the first rung."""

    def record(self, number: int, rung: int, score: float | None) -> None:
        """Trial `number` reached the end of `rung`.

        Args:
            score: a finite number. None if the objective has no value yet; the trial then ranks behind all trials with a score.
        """

    def complete(self, number: int, rung: int) -> None:
        """Trial `number` stopped improving on the way to `rung`. It counts on the rung, but cannot be promoted."""

    def fail(self, number: int, rung: int) -> None:
        """Trial `number` failed on the way to `rung` because of its configuration: it ran out of memory, diverged, was too slow
        or too large. It counts as ranked last."""

    def drop(self, number: int, rung: int) -> None:
        """Trial `number` ended on the way to `rung` for a reason unrelated to its configuration. It is not ranked."""

    def promote(self, promotion: Promotion) -> None:
        """The trial of a promotion starts training."""

    def next_promotion(self, *, max_epochs: float = math.inf, rule: Rule = "published") -> Promotion | None:
        """The best trial that may be promoted, from the highest rung that has one, for at most `max_epochs` epochs."""

    def out_of_reach(self, outlook: Outlook) -> list[tuple[int, int]]:
        """(trial, rung) of the paused trials that no rule can promote in the rest of the search.

        When promoted trials fail, others are promoted in their place. This provides for as many failures as there were so far,
        plus one. Beyond that, a trial that was reported out of reach may be promoted after all.
        """

    def paused(self) -> list[tuple[int, int]]:
        """(trial, rung) of all trials that wait for a promotion: lowest rung first, on each rung the worst trial first."""
