"""What a rung means: how many epochs on how much of the training data, and what that costs. Pure.

Whole numbers throughout, so that sums of costs are exact: shares of the data in thousandths, costs in thousandths of an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from probe.recipe.schema import Recipe

Unit = Literal["epochs", "data"]
WHOLE = 1000
"""Thousandths: of an epoch, of the training data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelitySchedule:
    """The way of a trial up a ladder.

    By epochs, a rung is where training pauses, and the next one goes on from its checkpoint. By data, a rung is a training
    of its own, from fresh weights, on a larger share of the data: weights that have been fitted to a small share generalise
    worse than fresh ones once there is more data (Ash & Adams 2020, https://arxiv.org/abs/1910.08475), so that scores of
    continued runs would not foretell that of a fit on everything; FABOLAS too trains each subset anew (Klein et al. 2017,
    https://arxiv.org/abs/1605.07079).

    An epoch of the budget is one pass over one whole training part, however large the validation part is that was held out of
    it. On a share of the data an epoch costs that share; in k-fold validation, where it is a pass in each fold, it costs k.
    """

    unit: Unit = "epochs"
    rungs: tuple[int, ...]
    """Epochs, or thousandths of the training data."""
    data_epochs: int = 1
    """With unit `data`: how many epochs every rung trains for."""
    num_folds: int = 1

    @property
    def full_epochs(self) -> int:
        """Of the longest training: what schedules are stretched over."""
        return self.data_epochs if self.unit == "data" else self.rungs[-1]

    @property
    def continues_from_checkpoint(self) -> bool:
        """Whether a rung goes on from the checkpoint of the one below."""
        return self.unit == "epochs"

    def epochs_before(self, rung: int) -> int:
        """Epochs that a trial has been trained for when it sets out for `rung`."""
        return self.rungs[rung - 1] if rung and self.continues_from_checkpoint else 0

    def epochs_after(self, rung: int) -> int:
        """Epochs that it has been trained for at the rung's end."""
        return self.rungs[rung] if self.continues_from_checkpoint else self.data_epochs

    def data_thousandths(self, rung: int) -> int:
        """Of the training data, which `rung` is trained on."""
        return WHOLE if self.continues_from_checkpoint else self.rungs[rung]

    def epoch_cost(self, rung: int) -> int:
        """Thousandths of an epoch that one report on the way to `rung` costs."""
        return self.num_folds * self.data_thousandths(rung)

    def job_cost(self, rung: int) -> int:
        """Thousandths of an epoch that the whole way from the rung below costs."""
        return (self.epochs_after(rung) - self.epochs_before(rung)) * self.epoch_cost(rung)

    @property
    def costs(self) -> tuple[int | float, ...]:
        """Epochs of the budget that the job of climbing to each rung costs."""
        return tuple(in_epochs(self.job_cost(rung)) for rung in range(len(self.rungs)))

    @property
    def total_costs(self) -> tuple[int | float, ...]:
        """Epochs of the budget that a trial has cost at the end of each rung."""
        return tuple(map(in_epochs, accumulate(self.job_cost(rung) for rung in range(len(self.rungs)))))


def in_epochs(thousandths: int) -> int | float:
    """A whole number where it is one."""
    return thousandths // WHOLE if thousandths % WHOLE == 0 else thousandths / WHOLE


def rung_name(unit: Unit, rung: int) -> str:
    """`9` epochs, or `30 %` of the data."""
    return str(rung) if unit == "epochs" else f"{rung / 10:g} %"


def rung_names(unit: Unit, rungs: Sequence[int]) -> str:
    """`after epoch 1, 3, 9`, or `on 10 %, 30 %, 100 % of the training data`."""
    listed = ", ".join(rung_name(unit, rung) for rung in rungs)
    return f"after epoch {listed}" if unit == "epochs" else f"on {listed} of the training data"


def make_fidelity_schedule(recipe: Recipe, rungs: Sequence[int]) -> FidelitySchedule:
    """What the rungs of a search mean, and what they cost."""
    return FidelitySchedule(
        unit=recipe.search.fidelity.unit,
        rungs=tuple(rungs),
        data_epochs=recipe.longest_epochs,
        num_folds=recipe.task.validation.num_folds,
    )
