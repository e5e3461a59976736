"""Hyperparameters of how a named task is trained that are neither the model's nor the trainer's: its loss function and its
augmentation. Without PyTorch, so that a recipe can be checked before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from probe.errors import TaskError, unknown_name

AUGMENTATIONS = ("shift", "flip", "rotate", "affine", "cutout")
NO_AUGMENTATION = "none"
CLASSIFICATION_LOSSES = ("cross_entropy", "focal")
REGRESSION_LOSSES = ("mse", "l1", "smooth_l1")
MAX_STRENGTH = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """Each is None where it is not given. Raises TaskError for a value out of range."""

    loss: str | None = None
    """What training minimizes: cross_entropy or focal; for regression mse, l1 or smooth_l1. What is reported stays
    cross-entropy, or the squared error, so that the losses of all trials are of one kind."""
    label_smoothing: float | None = None
    """Share of a target that all classes are given evenly (Szegedy et al. 2016)."""
    focal_gamma: float | None = None
    """How much less the focal loss weighs what is classified well; 2 where it is not given."""
    augmentation: str | None = None
    """Random changes of training images: `none`, or one or more of AUGMENTATIONS joined by `+`."""
    augmentation_strength: float | None = None
    """How far they may go, as a multiple of what is usual; means nothing with augmentation `none`."""

    def __post_init__(self) -> None:
        for name, value in self.given.items():
            check_option(name, value)

    @property
    def given(self) -> dict[str, Any]:
        return {name: value for name in OPTION_NAMES if (value := getattr(self, name)) is not None}

    @property
    def augments(self) -> bool:
        return self.augmentation not in (None, NO_AUGMENTATION)


OPTION_NAMES = ("loss", "label_smoothing", "focal_gamma", "augmentation", "augmentation_strength")


def read_options(params: Mapping[str, Any], *, task_type: str, is_images: bool) -> TaskOptions:
    """Those of `params` that are task options, as far as they go together on such data. Raises TaskError."""
    options = TaskOptions(**{name: value for name, value in params.items() if name in OPTION_NAMES})
    known = CLASSIFICATION_LOSSES if task_type == "classification" else REGRESSION_LOSSES
    if options.loss is not None and options.loss not in known:
        raise TaskError(f"loss {options.loss} is not for {task_type}.", hint=f"Known: {', '.join(known)}.")
    if task_type != "classification" and options.label_smoothing is not None:
        raise TaskError("label_smoothing is for classification; there are no labels in regression.")
    if options.focal_gamma is not None and options.loss != "focal":
        raise TaskError(
            f"focal_gamma belongs to the focal loss, not to {options.loss or known[0]}.",
            hint='Write focal_gamma = { ..., when = { loss = "focal" } }.',
        )
    if options.augments and not is_images:
        raise TaskError(f"augmentation '{options.augmentation}' is for images.", hint='Leave it out, or write "none".')
    if options.augmentation_strength is not None and options.augmentation is None:
        raise TaskError(
            "augmentation_strength is given, but no augmentation.", hint='Write augmentation = "shift", say.'
        )
    return options


def check_option(name: str, value: Any) -> None:
    """Raise TaskError unless `value` is one that the option can have."""
    if name == "loss":
        known = (*CLASSIFICATION_LOSSES, *REGRESSION_LOSSES)
        if value not in known:
            message, hint = unknown_name("loss", str(value), known)
            raise TaskError(message, hint=hint)
    elif name == "augmentation":
        parse_augmentation(value)
    else:
        _check_number(name, value)


def parse_augmentation(name: Any) -> tuple[str, ...]:
    """`shift+cutout` -> (shift, cutout); `none` -> (). Raises TaskError for what is not known or named twice."""
    if name == NO_AUGMENTATION:
        return ()
    parts = tuple(part.strip() for part in str(name).split("+"))
    for place, part in enumerate(parts):
        if part not in AUGMENTATIONS:
            message, hint = unknown_name("augmentation", part, (NO_AUGMENTATION, *AUGMENTATIONS))
            raise TaskError(message, hint=f"{hint} Several are joined like shift+cutout.")
        if part in parts[:place]:
            raise TaskError(f"augmentation '{name}' names {part} twice.")
    return parts


def _check_number(name: str, value: Any) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if name == "label_smoothing":
        rule, fits = "from 0 to below 1", is_number and 0 <= value < 1
    elif name == "focal_gamma":
        rule, fits = "of at least 0", is_number and value >= 0
    else:
        rule, fits = f"above 0 and at most {MAX_STRENGTH:g}", is_number and 0 < value <= MAX_STRENGTH
    if not fits:
        raise TaskError(f"{name} must be a number {rule}, not {value!r}.")
