"""Whether a command may import the task that a recipe names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probe.recipe.schema import Recipe


def check_trusted(path: Path, recipe: Recipe, *, trust: bool) -> None:
    """Raise UsageError if a search of someone else wrote the recipe, which names a target, unless `trust` is given. The search
    is then known from now on."""
    from probe.files import read_text
    from probe.search.storage.own_runs import check_own, remember, run_id_in

    if recipe.task.target is None:
        return
    # A pipe was read to its end with the recipe, and is empty now: whoever types one knows what it contains.
    run_id = run_id_in(read_text(path))
    if run_id is None:
        return
    if trust:
        remember(run_id)
    else:
        check_own(run_id, recipe.task.target, asked_for=str(path))
