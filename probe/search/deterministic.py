"""`--deterministic`: two runs make the same decisions, and so does a run that was killed and resumed.

It takes one worker, so that results arrive in one order; a fixed number of PyTorch threads, since sums depend on how
they are split; and no decision that depends on a clock. (The batch probe of a search finds the largest batch that fits,
without timing.)
"""

from __future__ import annotations

from probe.errors import RecipeError, UsageError
from probe.recipe.schema import Recipe

WORKER_ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""Needed for reproducible matrix products on a GPU:
https://docs.pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms.html"""


def check_deterministic(recipe: Recipe, *, num_workers: int | None) -> None:
    """Raise RecipeError or UsageError for settings with which two runs may differ."""
    if recipe.budget.time is not None:
        raise RecipeError(
            f"budget.time = {recipe.budget.time}: a deterministic search cannot be limited by time.",
            hint="Limit trials or epochs instead (--time none removes the limit), or remove --deterministic.",
        )
    timed = {
        "search.trial_time": recipe.search.trial_time,
        "search.constraints.step_ms": recipe.search.constraints.step_ms,
    }
    for key, value in timed.items():
        if value is not None:
            raise RecipeError(
                f"{key} = {value}: a deterministic search cannot depend on measured times.",
                hint="Constrain params or memory instead, or remove --deterministic.",
            )
    if num_workers is not None and num_workers != 1:
        raise UsageError(
            f"--workers {num_workers}: a deterministic search uses one worker, so that results arrive in one order.",
            hint="Remove --workers or --deterministic.",
        )


def make_deterministic() -> None:
    """Configure PyTorch in a worker, before its first job. Operations without a deterministic version only warn."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
