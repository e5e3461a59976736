"""What follows from the end of a job: what it costs, whether a batch is split or a constraint is broken. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from probe.recipe.schema import Recipe
from probe.search.schedulers.fidelity import FidelitySchedule
from probe.units import format_bytes, format_count, format_seconds

OomPolicy = Literal["accumulate", "infeasible"]
"""What becomes of a trial that runs out of memory. accumulate: it is run again, its batch split into twice as many parts whose
gradients are summed, down to single samples; the effective batch stays. infeasible: it is given up."""


def next_gradient_accumulation(batch_size: int, gradient_accumulation: int) -> int | None:
    """How many micro-batches to try after `gradient_accumulation` of them ran out of memory; None if each is one sample."""
    return None if gradient_accumulation >= batch_size else min(2 * gradient_accumulation, batch_size)


MIN_TRIAL_SHARE = 10
"""A trial that dies costs at least 1/10 of a pass over its training data, even where it ended before any training: so a
budget of epochs always ends."""


def lost_cost(outcome: str, num_passes: int | None, num_reports: int, *, fidelity: FidelitySchedule, rung: int) -> int:
    """Thousandths of an epoch that a job's passes without a report cost. `num_passes` were begun since the rung below.

    Where their number is unknown, it is the epoch that the job died in; with folds, which report only at the end, all that
    the rung costs, or one pass where the task's code raised, which it mostly does at once.
    """
    if num_passes is not None:
        return max(0, num_passes - num_reports * fidelity.num_folds) * fidelity.data_thousandths(rung)
    if outcome in ("diverged", "crashed", "timeout"):
        return fidelity.job_cost(rung) if fidelity.num_folds > 1 else fidelity.epoch_cost(rung)
    return fidelity.data_thousandths(rung) if outcome in ("oom", "failed") else 0


def least_cost(fidelity: FidelitySchedule, rung: int) -> int:
    """Thousandths of an epoch that a trial has cost at least when it dies on the way to `rung`."""
    return max(1, fidelity.data_thousandths(rung) // MIN_TRIAL_SHARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """Upper bounds on what a trial may be; None: none."""

    params: float | None = None
    """Trainable parameters."""
    step_seconds: float | None = None
    """Mean time of a training step, the first of each epoch left out."""
    memory_bytes: int | None = None
    """Largest amount that the device's allocator held."""

    def broken_by_params(self, num_params: int) -> str | None:
        """The sentence about a model with that many trainable parameters; None where it may have them."""
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
    given = recipe.search.constraints
    return Constraints(
        params=given.params,
        step_seconds=None if given.step_ms is None else given.step_ms / 1000,
        memory_bytes=given.memory_bytes,
    )
