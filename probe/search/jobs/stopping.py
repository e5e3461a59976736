"""When a job ends before its last epoch: constraints, patience, and what follows from a lack of memory. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from probe.search.records.objective import Objective, best_epoch
from probe.training.records import EpochReport
from probe.units import format_bytes, format_count, format_seconds

if TYPE_CHECKING:
    from probe.recipe.schema import Recipe

OomPolicy = Literal["accumulate", "infeasible"]
"""What happens to a trial that runs out of memory. accumulate: it is repeated with twice as many micro-batches per batch, down
to single samples; the effective batch size stays. infeasible: it ends."""


def next_gradient_accumulation(batch_size: int, gradient_accumulation: int) -> int | None:
    """How many micro-batches to try after `gradient_accumulation` of them ran out of memory; None if each is one sample."""
    return None if gradient_accumulation >= batch_size else min(2 * gradient_accumulation, batch_size)


def stale_epochs(objective: Objective, reports: Sequence[EpochReport]) -> int:
    """Epochs since the best value of the objective; 0 if it has no value in any epoch, because nothing got worse."""
    best = best_epoch(replace(objective, reduce="best"), reports)
    return 0 if best is None else reports[-1].epoch - best


def has_stopped_improving(objective: Objective, reports: Sequence[EpochReport], patience: int | None) -> bool:
    """Whether the last `patience` epochs brought no improvement; always False if `patience` is None."""
    return patience is not None and bool(reports) and stale_epochs(objective, reports) >= patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """Upper bounds on a trial; None for no bound. Each method returns a sentence if its bound is broken, None otherwise."""

    params: float | None = None
    """Trainable parameters."""
    step_seconds: float | None = None
    """Mean time of a training step, without the first step of each epoch."""
    memory_bytes: int | None = None
    """Peak memory reserved by the device's allocator."""

    def broken_by_params(self, num_params: int) -> str | None:
        if self.params is None or num_params <= self.params:
            return None
        return f"{format_count(num_params)} trainable parameters, more than the {format_count(self.params)} allowed."

    def broken_by_step(self, step_seconds: float | None) -> str | None:
        if self.step_seconds is None or step_seconds is None or step_seconds <= self.step_seconds:
            return None
        return (
            f"A step takes {format_seconds(step_seconds)}, longer than the {format_seconds(self.step_seconds)} allowed."
        )

    def broken_by_memory(self, peak_bytes: int | None) -> str | None:
        if self.memory_bytes is None or peak_bytes is None or peak_bytes <= self.memory_bytes:
            return None
        return f"Training takes {format_bytes(peak_bytes)}, more than the {format_bytes(self.memory_bytes)} allowed."


UNCONSTRAINED = Constraints()


def make_constraints(recipe: Recipe) -> Constraints:
    """The constraints of the recipe's [search.constraints]."""
    given = recipe.search.constraints
    return Constraints(
        params=given.params,
        step_seconds=None if given.step_ms is None else given.step_ms / 1000,
        memory_bytes=given.memory_bytes,
    )
