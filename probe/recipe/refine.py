"""The recipe's table `search.refine`, and the check that the rest of the recipe can be combined with it.

With it, the best of the sampler's trials is refined by gradient steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from probe.errors import did_you_mean
from probe.limits import MAX_STEPS, MAX_TRIALS
from probe.recipe.space import Choices, Constant, Number, ProbedLr, Range, Scalar, Section
from probe.recipe.values import show

if TYPE_CHECKING:
    from probe.recipe.space import SpaceEntry

REFINABLE = ("lr", "momentum", "weight_decay", "l1", "l2", "label_smoothing")
"""The same names as probe.search.hypergradient.unrolled.DIFFERENTIABLE, whose import loads PyTorch."""
UNROLLED_OPTIMIZERS = ("sgd", "nesterov")
NOT_UNROLLED = ("precision", "gradient_accumulation", "activation_checkpointing", "compile")


class Refine(Section):
    """Gradient steps from the best of the first trials."""

    method: Literal["hypergradient"]
    """How gradients are computed: `hypergradient` differentiates the validation loss through the unrolled training."""
    after: int = Field(ge=1, le=MAX_TRIALS)
    """Number of the sampler's trials; all later ones are gradient steps."""
    hyperparameters: tuple[str, ...] = Field(strict=False)
    """Hyperparameters to refine."""
    step: Number = 0.1
    """Length of the first step: the largest change of a hyperparameter, as a fraction of its range on its own scale."""
    unroll: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    """Number of last training steps to differentiate through; all by default."""

    @field_validator("hyperparameters")
    @classmethod
    def _check_hyperparameters(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("must name at least one hyperparameter")
        for place, name in enumerate(names):
            if name not in REFINABLE:
                guess = did_you_mean(name, REFINABLE)
                raise ValueError(f"must be among {', '.join(REFINABLE)}, not {show(name)}{guess}")
            if name in names[:place]:
                raise ValueError(f"holds {show(name)} twice")
        return names

    @field_validator("step")
    @classmethod
    def _check_step(cls, step: float) -> float:
        if not 0 < step <= 1:
            raise ValueError(f"must be a fraction of the ranges above 0 and at most 1, not {show(step)}")
        return step


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinedSearch:
    """The parts of a recipe that `search.refine` depends on."""

    objective: tuple[str, str]
    """(metric, mode)"""
    scheduler: str
    has_one_length: bool
    """Whether every trial has the same length in epochs."""
    validation: str
    """Kind of the validation."""
    max_trials: int | None


def check_refine(refine: Refine, search: RefinedSearch, space: Mapping[str, SpaceEntry]) -> None:
    """Raise ValueError if another key cannot be combined with `search.refine`. The message begins with that key."""
    if search.objective != ("loss", "min"):
        metric, mode = search.objective
        raise ValueError(
            f'task.objective: must be {{ metric = "loss", mode = "min" }} with search.refine, which differentiates the '
            f"validation loss, not {mode} {metric}"
        )
    if search.scheduler not in ("auto", "none"):
        raise ValueError(
            f'search.scheduler: must be "none" or "auto" with search.refine, not "{search.scheduler}": a step needs the score '
            "of a whole training"
        )
    if not search.has_one_length:
        raise ValueError("search.fidelity: must have one length in epochs with search.refine, like { max = 8 }")
    if search.validation != "holdout":
        raise ValueError('task.validation: must be of kind "holdout" with search.refine')
    if search.max_trials is not None and search.max_trials <= refine.after:
        raise ValueError(
            f"search.refine.after: must be below budget.trials = {search.max_trials}, not {refine.after}: no trial would be "
            "refined"
        )
    for name in NOT_UNROLLED:
        if name in space:
            raise ValueError(f"space.{name}: cannot be combined with search.refine; remove it")
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
        found = f"not {show(others[0])}" if others else "but it is missing"
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
