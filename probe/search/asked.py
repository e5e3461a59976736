"""What a recipe's [search] and [task] ask of trials, in the search's own terms. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from probe.recipe.schema import Recipe
from probe.search.course import Course
from probe.search.outcomes import Constraints


def make_course(recipe: Recipe, rungs: Sequence[int]) -> Course:
    """What the rungs of a search mean, and what they cost."""
    return Course(
        unit=recipe.search.fidelity.unit,
        rungs=tuple(rungs),
        data_epochs=recipe.longest_epochs,
        num_folds=recipe.task.validation.num_folds,
    )


def make_constraints(recipe: Recipe) -> Constraints:
    given = recipe.search.constraints
    return Constraints(
        params=given.params,
        step_seconds=None if given.step_ms is None else given.step_ms / 1000,
        memory_bytes=given.memory_bytes,
    )
