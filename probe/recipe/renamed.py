"""Keys of earlier recipes and their present names. Pure."""

from __future__ import annotations

RENAMED_KEYS = {
    "search.ladder": "search.scheduler",
    "task.validation.share": "task.validation.fraction",
    "task.data_options.objective": "task.data_options.task_type",
    "space.schedule": "space.lr_schedule",
    "space.accumulation": "space.gradient_accumulation",
    "space.clip_norm": "space.max_grad_norm",
    "space.checkpointing": "space.activation_checkpointing",
}


def new_name(key: str) -> str | None:
    """The present name of the key `key`, like `search.scheduler` for `search.ladder`; None if it was not renamed."""
    return RENAMED_KEYS.get(key)
