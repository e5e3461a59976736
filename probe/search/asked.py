"""What a recipe's [search] and [task] ask of trials, in the search's own terms. Pure."""

from __future__ import annotations

from probe.recipe.schema import Recipe
from probe.search.course import Course
from probe.search.ladder import make_rungs
from probe.search.outcomes import Constraints


def make_course(recipe: Recipe) -> Course:
    """The rungs of a recipe's ladder and what they mean."""
    fidelity = recipe.search.fidelity
    whole = recipe.search.ladder == "none"
    top = fidelity.highest if fidelity.unit == "data" else recipe.longest_epochs
    return Course(
        unit=fidelity.unit,
        rungs=(top,) if whole else make_rungs(fidelity.lowest, fidelity.highest, fidelity.factor),
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
