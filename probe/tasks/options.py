"""The fields of a named task, and its hyperparameters that belong neither to the model nor to the trainer. Without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probe.data.protocol import NO_OPTIONS, DataOptions
from probe.errors import TaskError
from probe.limits import PROBABILITY, OneOf, Real, Rules, SomeOf, check_values

AUGMENTATIONS = ("shift", "flip", "rotate", "affine", "cutout")
CLASSIFICATION_LOSSES = ("cross_entropy", "focal")
REGRESSION_LOSSES = ("mse", "l1", "smooth_l1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """Options of a named task; None if not given. Raises TaskError for a value out of range."""

    loss: str | None = None
    """Loss that training minimizes: cross_entropy or focal; for regression mse, l1 or smooth_l1. The reported loss is always
    cross-entropy, or the squared error, so that the losses of all trials are comparable."""
    label_smoothing: float | None = None
    """Fraction of each target that is spread evenly over all classes (Szegedy et al. 2016)."""
    focal_gamma: float | None = None
    """Exponent of the focal loss (Lin et al. 2017); 2 by default."""
    augmentation: str | None = None
    """Random changes of training images: `none`, or some of AUGMENTATIONS joined by `+`."""
    augmentation_strength: float | None = None
    """Factor on the largest change; 1 by default. No effect with augmentation `none`."""

    def __post_init__(self) -> None:
        check_values(OPTIONS, **self.given)

    @property
    def given(self) -> dict[str, Any]:
        """The options that are not None."""
        return {name: value for name in OPTIONS if (value := getattr(self, name)) is not None}

    @property
    def augments(self) -> bool:
        """Whether images are changed."""
        return self.augmentation not in (None, AUGMENTATION.none)


AUGMENTATION = SomeOf(AUGMENTATIONS)
OPTIONS: Rules = {
    "loss": OneOf((*CLASSIFICATION_LOSSES, *REGRESSION_LOSSES)),
    "label_smoothing": PROBABILITY,
    "focal_gamma": Real(0),
    "augmentation": AUGMENTATION,
    "augmentation_strength": Real(0, 4, above=True),
}


def read_options(params: Mapping[str, Any], *, task_type: str, is_images: bool) -> TaskOptions:
    """The task options among `params`. Raises TaskError if one is out of range, contradicts another one, or does not fit the
    data."""
    options = TaskOptions(**{name: value for name, value in params.items() if name in OPTIONS})
    known = CLASSIFICATION_LOSSES if task_type == "classification" else REGRESSION_LOSSES
    if options.loss is not None and options.loss not in known:
        raise TaskError(f"loss {options.loss} is not for {task_type}.", hint=f"Choose one of: {', '.join(known)}.")
    if task_type != "classification" and options.label_smoothing is not None:
        raise TaskError("label_smoothing is for classification, not for regression.")
    if options.focal_gamma is not None and options.loss != "focal":
        raise TaskError(
            f"focal_gamma belongs to the focal loss, not to {options.loss or known[0]}.",
            hint='Write focal_gamma = { ..., when = { loss = "focal" } }.',
        )
    if options.augments and not is_images:
        raise TaskError(
            f"augmentation '{options.augmentation}' is for images only.", hint='Remove it, or write "none".'
        )
    if options.augmentation_strength is not None and options.augmentation is None:
        raise TaskError(
            "augmentation_strength is given without augmentation.", hint='Write, for example, augmentation = "shift".'
        )
    return options


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSpec:
    """A named model on a named data set: `--model densenet --img 256`, or a recipe's `model` and `data`."""

    model: str
    data: str = "synthetic"
    data_dir: Path = Path("data")
    image_size: int | None = None
    """Height and width of images, or None for the size of the data (224 for synthetic images)."""
    weights: Path | None = None
    data_options: DataOptions = NO_OPTIONS
    val_fraction: float = 0.0
    """Fraction of the training split that will become the validation split. Data in time order are scaled without it."""
    num_train: int | None = None
    """Number of training samples to use, including the validation split, or None for all."""
    subset_seed: int = 0
    seed: int = 0

    @property
    def title(self) -> str:
        size = f" at {self.image_size} x {self.image_size}" if self.image_size else ""
        few = f", {self.num_train} training samples" if self.num_train else ""
        return f"{self.model} on {self.data}{size}{few}"
