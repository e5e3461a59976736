"""`search.refine`: the best of a search's first trials refined by gradient steps. The table, and what the rest of the recipe
must be for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from probe.errors import near_misses
from probe.recipe.space import Choices, Constant, Number, ProbedLr, Range, Scalar, Section
from probe.recipe.values import show

if TYPE_CHECKING:
    from probe.recipe.schema import Recipe
    from probe.recipe.space import SpaceEntry

REFINABLE = ("lr", "momentum", "weight_decay", "l1", "l2", "label_smoothing")
"""probe.search.hypergradient.unrolled.DIFFERENTIABLE, which would load PyTorch."""
UNROLLED_OPTIMIZERS = ("sgd", "nesterov")
_NOT_UNROLLED = ("precision", "gradient_accumulation", "activation_checkpointing")


class Refine(Section):
    """Gradient steps from the best of the first trials."""

    method: Literal["hypergradient"]
    """The validation loss is differentiated through the unrolled training."""
    after: int = Field(ge=1)
    """Trials that the sampler decides; all later ones are gradient steps."""
    hyperparameters: tuple[str, ...] = Field(strict=False)
    step: Number = 0.1
    """The first step: the largest change of a hyperparameter, as a share of its range on its own scale."""
    unroll: int | None = Field(default=None, ge=1)
    """Only so many last training steps are differentiated; all where it is not given."""

    @field_validator("hyperparameters")
    @classmethod
    def _check_hyperparameters(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("must name at least one hyperparameter")
        for place, name in enumerate(names):
            if name not in REFINABLE:
                close = near_misses(name, REFINABLE)
                guess = f"; did you mean {' or '.join(close)}?" if close else ""
                raise ValueError(f"must be among {', '.join(REFINABLE)}, not {show(name)}{guess}")
            if name in names[:place]:
                raise ValueError(f"holds {show(name)} twice")
        return names

    @field_validator("step")
    @classmethod
    def _check_step(cls, step: float) -> float:
        if not 0 < step <= 1:
            raise ValueError(f"must be a share of the ranges above 0, at most 1, not {show(step)}")
        return step


def check_refine(recipe: Recipe) -> None:
    """Raise ValueError with a text that begins with the key that does not go with `search.refine`."""
    refine = recipe.search.refine
    if refine is None:
        return
    objective, search, space = recipe.task.objective, recipe.search, recipe.space
    if (objective.metric, objective.mode) != ("loss", "min"):
        raise ValueError(
            f'task.objective: must be {{ metric = "loss", mode = "min" }} with search.refine, whose gradient is that of the '
            f"validation loss, not {objective.mode} {objective.metric}"
        )
    if search.scheduler not in ("auto", "none"):
        raise ValueError(
            f'search.scheduler: must be "none" or "auto" with search.refine, not "{search.scheduler}": a step needs the score '
            "of a whole training"
        )
    if search.fidelity.unit != "epochs" or "epochs" in space:
        raise ValueError("search.fidelity: must have one length in epochs with search.refine, like { max = 8 }")
    if recipe.task.validation.kind != "holdout":
        raise ValueError('task.validation: must be of kind "holdout" with search.refine')
    if recipe.budget.trials is not None and recipe.budget.trials <= refine.after:
        raise ValueError(
            f"search.refine.after: must be below budget.trials = {recipe.budget.trials}, not {refine.after}: nothing would "
            "be refined"
        )
    for name in _NOT_UNROLLED:
        if name in space:
            raise ValueError(f"space.{name}: does not go with search.refine; leave it out")
    _check_optimizer(space.get("optimizer"))
    for name in refine.hyperparameters:
        _check_range(name, space)


def _check_optimizer(entry: SpaceEntry | None) -> None:
    allowed = ", ".join(UNROLLED_OPTIMIZERS)
    given: tuple[Scalar, ...] = ()
    if isinstance(entry, (Constant, Choices)):
        given = (entry.value,) if isinstance(entry, Constant) else entry.choices
    others = [value for value in given if value not in UNROLLED_OPTIMIZERS]
    if not given or others:
        found = f"not {show(others[0])}" if others else "and it is not there"
        raise ValueError(f"space.optimizer: must be among {allowed} with search.refine, {found}")


def _check_range(name: str, space: Mapping[str, SpaceEntry]) -> None:
    entry = space.get(name)
    if isinstance(entry, ProbedLr) and entry.per is None:
        return
    if not isinstance(entry, Range) or entry.kind != "float" or entry.step is not None or entry.when:
        raise ValueError(
            f"search.refine.hyperparameters: {name} must be a range of numbers in [space], without steps or a condition, like "
            f"{name} = {{ low = 1e-5, high = 1e-2, log = true }}"
        )
