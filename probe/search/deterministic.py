"""`--deterministic`: two runs decide alike, and so does one that was killed and resumed.

One worker, so that results come in one order; PyTorch's threads fixed, as sums depend on how they are split; nothing that a
clock decides. The batch size of a search is the largest that fits, which is not timed either.
"""

from __future__ import annotations

from probe.errors import RecipeError, UsageError
from probe.recipe.schema import Recipe

WORKER_ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""Without it, matrix products on a GPU differ from run to run:
https://docs.pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms.html"""


def check_deterministic(recipe: Recipe, *, num_workers: int | None) -> None:
    """Raise RecipeError or UsageError for what makes two runs differ."""
    if recipe.budget.time is not None:
        raise RecipeError(
            f"budget.time: a deterministic search cannot end by the clock, and the recipe gives it {recipe.budget.time}.",
            hint="Limit trials or epochs instead (--time none drops the limit), or leave --deterministic away.",
        )
    timed = {
        "search.trial_time": recipe.search.trial_time,
        "search.constraints.step_ms": recipe.search.constraints.step_ms,
    }
    for key, value in timed.items():
        if value is not None:
            raise RecipeError(
                f"{key}: a deterministic search cannot depend on measured times, and the recipe says {value}.",
                hint="Constrain params or memory instead, or leave --deterministic away.",
            )
    if num_workers is not None and num_workers != 1:
        raise UsageError(
            f"--workers {num_workers}: a deterministic search has one worker, so that its results come in one order.",
            hint="Leave --workers or --deterministic away.",
        )


def make_deterministic() -> None:
    """In a worker, before its first job. Operations without a deterministic version warn and run all the same."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
