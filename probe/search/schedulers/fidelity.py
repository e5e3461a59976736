"""The fidelity schedule: what a rung means in epochs and training data, and what it costs. Pure.

All quantities are integers, so that sums of costs are exact: fractions of the data in thousandths, costs in thousandths of an
epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from probe.recipe.schema import Recipe

Unit = Literal["epochs", "data"]
WHOLE = 1000
"""Thousandths in an epoch, and in the training data."""
MIN_TRIAL_FRACTION = 10
"""A trial that fails costs at least 1/10 of a pass over its training data, even if it failed before any training, so that a
budget of epochs is always used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelitySchedule:
    """The rungs of a search, and their costs.

    With unit `epochs`, a rung is the epoch at which a training pauses; the next rung continues from its checkpoint. With unit
    `data`, a rung is a training of its own on a larger fraction of the data, from new weights. Weights that were trained on a
    small fraction generalize worse than new ones once there is more data (Ash & Adams 2020, https://arxiv.org/abs/1910.08475),
    so that scores of continued runs would not predict that of a training on all data. FABOLAS also trains each subset from new
    weights (Klein et al. 2017, https://arxiv.org/abs/1605.07079).

    An epoch of the budget is one pass over the whole train split, whatever the size of the val split. On a fraction of the data
    an epoch costs that fraction; in k-fold validation, an epoch is a pass in each fold and costs k.
    """

    unit: Unit = "epochs"
    rungs: tuple[int, ...]
    """The rungs in epochs, or in thousandths of the training data."""
    data_epochs: int = 1
    """Number of epochs on every rung, with unit `data`."""
    num_folds: int = 1

    @property
    def full_epochs(self) -> int:
        """Epochs of the longest training, over which learning rate schedules are stretched."""
        return self.data_epochs if self.unit == "data" else self.rungs[-1]

    @property
    def continues_from_checkpoint(self) -> bool:
        """Whether a rung continues from the checkpoint of the rung below."""
        return self.unit == "epochs"

    def epochs_before(self, rung: int) -> int:
        """Number of epochs that a trial has been trained for at the start of `rung`."""
        return self.rungs[rung - 1] if rung and self.continues_from_checkpoint else 0

    def epochs_after(self, rung: int) -> int:
        """Number of epochs that a trial has been trained for at the end of `rung`."""
        return self.rungs[rung] if self.continues_from_checkpoint else self.data_epochs

    def data_thousandths(self, rung: int) -> int:
        """Thousandths of the training data that `rung` is trained on."""
        return WHOLE if self.continues_from_checkpoint else self.rungs[rung]

    def epoch_cost(self, rung: int) -> int:
        """Cost of each reported epoch of `rung`, in thousandths of an epoch of the budget."""
        return self.num_folds * self.data_thousandths(rung)

    def job_cost(self, rung: int) -> int:
        """Cost of training from the rung below to `rung`, in thousandths of an epoch of the budget."""
        return (self.epochs_after(rung) - self.epochs_before(rung)) * self.epoch_cost(rung)

    @property
    def costs(self) -> tuple[int | float, ...]:
        """Cost of training to each rung from the rung below, in epochs of the budget."""
        return tuple(in_epochs(self.job_cost(rung)) for rung in range(len(self.rungs)))

    @property
    def total_costs(self) -> tuple[int | float, ...]:
        """Cost of a trial up to the end of each rung, in epochs of the budget."""
        return tuple(map(in_epochs, accumulate(self.job_cost(rung) for rung in range(len(self.rungs)))))


def in_epochs(thousandths: int) -> int | float:
    """Thousandths of an epoch as epochs; an int if that is exact."""
    return thousandths // WHOLE if thousandths % WHOLE == 0 else thousandths / WHOLE


def rung_name(unit: Unit, rung: int) -> str:
    """Name of a rung: `9` for epochs, `30 %` for data."""
    return str(rung) if unit == "epochs" else f"{rung / 10:g} %"


def rung_names(unit: Unit, rungs: Sequence[int]) -> str:
    """`after epoch 1, 3, 9`, or `on 10 %, 30 %, 100 % of the training data`."""
    listed = ", ".join(rung_name(unit, rung) for rung in rungs)
    return f"after epoch {listed}" if unit == "epochs" else f"on {listed} of the training data"


def make_fidelity_schedule(recipe: Recipe, rungs: Sequence[int]) -> FidelitySchedule:
    """The fidelity schedule of a recipe with these rungs."""
    return FidelitySchedule(
        unit=recipe.search.fidelity.unit,
        rungs=tuple(rungs),
        data_epochs=recipe.longest_epochs,
        num_folds=recipe.task.validation.num_folds,
    )


def lost_cost(outcome: str, num_passes: int | None, num_reports: int, *, fidelity: FidelitySchedule, rung: int) -> int:
    """Cost of a job's passes without a report, in thousandths of an epoch. `num_passes` is the number it started since
    the rung below; if that is unknown (None), the cost is that of the epoch in which the job failed. Folds report only
    at the end, so that the cost is then that of the whole rung, or of one pass if the task's code raised, which usually
    happens at once."""
    if num_passes is not None:
        return max(0, num_passes - num_reports * fidelity.num_folds) * fidelity.data_thousandths(rung)
    if outcome in ("diverged", "crashed", "host_oom", "timeout"):
        return fidelity.job_cost(rung) if fidelity.num_folds > 1 else fidelity.epoch_cost(rung)
    return fidelity.data_thousandths(rung) if outcome in ("oom", "failed") else 0


def least_cost(fidelity: FidelitySchedule, rung: int) -> int:
    """The least cost of a trial that fails on its way to `rung`, in thousandths of an epoch."""
    return max(1, fidelity.data_thousandths(rung) // MIN_TRIAL_FRACTION)
