"""Tables inside the sections of a recipe: task.validation, task.data_options, search.fidelity and search.constraints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from probe.errors import UsageError
from probe.limits import MAX_EPOCHS, MAX_FOLDS, MAX_SAMPLES
from probe.recipe.space import Number, Section, Text
from probe.recipe.values import show
from probe.units import parse_bytes, parse_seconds

DEFAULT_FRACTION = 0.2
DEFAULT_FOLDS = 5
DEFAULT_DATA_EPOCHS = 10


def _plain_seconds(value: object) -> object:
    return f"{value}s" if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _readable(parse: Callable[[str], float], rule: str) -> AfterValidator:
    def check(text: str) -> str:
        try:
            parse(text)
        except UsageError:
            raise ValueError(f"must be {rule}, not {show(text)}") from None
        return text

    return AfterValidator(check)


Duration = Annotated[
    str,
    BeforeValidator(_plain_seconds),
    _readable(parse_seconds, "a duration above zero, of at most ten years, like 90s, 2m or 1h30m"),
]
MemorySize = Annotated[str, _readable(parse_bytes, "an amount of memory like 512MiB or 8GiB")]


class Validation(Section):
    """How trials are validated: on a held-out split of the training data, or by k-fold cross-validation. A task with its own
    validation split uses that one, and cannot be combined with k-fold cross-validation."""

    kind: Literal["holdout", "kfold"] = "holdout"
    """A held-out split, or k-fold cross-validation."""
    fraction: float | None = Field(default=None, gt=0, lt=1)
    """Fraction of the training data to hold out (0.2 by default); for `holdout`."""
    k: int | None = Field(default=None, ge=2, le=MAX_FOLDS)
    """Number of folds (5 by default); for `kfold`."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, plain: Any) -> Any:
        if not isinstance(plain, Mapping):
            return plain
        plain = dict(plain)
        kind = plain.get("kind", "holdout")
        foreign = {"holdout": "k", "kfold": "fraction"}.get(kind) if isinstance(kind, str) else None
        if foreign is not None and plain.get(foreign) is not None:
            raise ValueError(f'{foreign}: belongs to kind = "{"kfold" if foreign == "k" else "holdout"}", not "{kind}"')
        default: dict[str, Any] = {"k": DEFAULT_FOLDS} if kind == "kfold" else {"fraction": DEFAULT_FRACTION}
        return {**default, **plain} if kind in ("holdout", "kfold") else plain

    @property
    def num_folds(self) -> int:
        """Number of folds; 1 for a held-out split."""
        return self.k if self.kind == "kfold" and self.k is not None else 1


class Fidelity(Section):
    """The rungs at which trials are ranked: min, min * factor, min * factor^2, ... and max. With unit `data` each rung is a
    fraction of the training data, and a trial is trained anew on it for `epochs` epochs."""

    unit: Literal["epochs", "data"] = "epochs"
    """Unit of min and max: epochs, or a fraction of the training data."""
    min: Number | None = None
    """First rung; by default a ninth of max with unit `epochs`, a tenth with unit `data`."""
    max: Number = 27
    """Last rung: the longest training (1.0 by default with unit `data`)."""
    factor: int | None = Field(default=None, ge=2, le=MAX_EPOCHS)
    """One in `factor` trials is promoted from each rung to the next (3 by default)."""
    epochs: int | None = Field(default=None, ge=1, le=MAX_EPOCHS)
    """Epochs of each training (10 by default); for unit `data`."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, plain: Any) -> Any:
        if not isinstance(plain, Mapping) or plain.get("unit") != "data":
            return plain
        return {"max": 1.0, "epochs": DEFAULT_DATA_EPOCHS, **plain}

    @model_validator(mode="after")
    def _check(self) -> Fidelity:
        if self.unit == "epochs" and self.epochs is not None:
            raise ValueError('epochs: belongs to unit = "data"; with unit = "epochs" write max')
        for end in ("min", "max"):
            value = getattr(self, end)
            if value is None:
                continue
            if self.unit == "epochs" and not isinstance(value, int):
                raise ValueError(f"{end}: must be a whole number, not {show(value)}")
            if self.unit == "epochs" and not 1 <= value <= MAX_EPOCHS:
                limit = "at least 1" if value < 1 else f"at most {MAX_EPOCHS:,}"
                raise ValueError(f"{end}: must be {limit}, not {show(value)}")
            if self.unit == "data" and not 0.001 <= value <= 1:
                raise ValueError(f"{end}: must be a fraction of the training data from 0.001 to 1, not {show(value)}")
        if self.min is not None and self.min > self.max:
            raise ValueError(f"min must be at most max, not {show(self.min)} to {show(self.max)}")
        return self

    @property
    def lowest(self) -> int | None:
        """The first rung in epochs or in thousandths of the training data; None if it is not given."""
        return None if self.min is None else self._in_rungs(self.min)

    @property
    def highest(self) -> int:
        return self._in_rungs(self.max)

    def _in_rungs(self, end: float) -> int:
        return round(1000 * end) if self.unit == "data" else int(end)

    @property
    def full_epochs(self) -> int:
        """Of the longest training of a trial."""
        return self.highest if self.unit == "epochs" else self.epochs or DEFAULT_DATA_EPOCHS


class Constraints(Section):
    """Limits on a trial; a trial that exceeds one is infeasible."""

    params: Number | None = None
    """Maximum number of trainable parameters."""
    step_ms: Number | None = None
    """Maximum mean duration of a training step in milliseconds."""
    memory: MemorySize | None = None
    """Maximum peak memory, like `4GiB`."""

    @model_validator(mode="after")
    def _check(self) -> Constraints:
        for name in ("params", "step_ms"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name}: must be a number above 0, not {show(value)}")
        return self

    @property
    def memory_bytes(self) -> int | None:
        return None if self.memory is None else parse_bytes(self.memory)


_KINDS = {
    "target": ("csv", "series"),
    "task_type": ("csv",),
    "ignore": ("csv", "series"),
    "categorical": ("csv",),
    "test_fraction": ("csv", "series", "folder", "text"),
    "horizon": ("series",),
}
"""The kinds of data (the text before the colon) to which each option applies."""


class DataOptions(Section):
    """How a data file is read. The defaults are those of `probe.data.options`."""

    target: Text | None = None
    """Column to predict; the last one by default. For `csv` and `series`."""
    task_type: Literal["classification", "regression"] | None = None
    """Kind of prediction; inferred from the target column by default. For `csv`."""
    ignore: tuple[Text, ...] | None = Field(default=None, strict=False)
    """Columns to ignore. For `csv` and `series`."""
    categorical: tuple[Text, ...] | None = Field(default=None, strict=False)
    """Columns of numbers to read as categories. For `csv`."""
    test_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Fraction of the samples in the test split (0.2 by default). For `csv`, `series`, `folder` and `text`."""
    horizon: int | None = Field(default=None, ge=1, le=MAX_SAMPLES)
    """Number of steps ahead to forecast (1 by default). For `series`."""

    @field_validator("ignore", "categorical", mode="before")
    @classmethod
    def _check_columns(cls, columns: Any) -> Any:
        if isinstance(columns, str):
            raise ValueError(f'must be a list of columns, like ["{columns}"]')
        return columns

    @property
    def given(self) -> dict[str, Any]:
        """The options that the recipe sets."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}

    def check_kind(self, data: str | None) -> None:
        """Raise ValueError for the first option that does not apply to `data`; the message starts with its key."""
        kind, colon, _ = (data or "").partition(":")
        for name in self.given:
            if not colon or kind not in _KINDS[name]:
                takers = ", ".join(f"{taker}:PATH" for taker in _KINDS[name])
                raise ValueError(f"data_options.{name}: is for {takers}, not {data or 'a target'}")
