"""The table task.data_options: how a data file is read."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from probe.recipe.space import Section

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

    target: str | None = Field(default=None, min_length=1)
    """Column to predict; the last one by default. For `csv` and `series`."""
    task_type: Literal["classification", "regression"] | None = None
    """Kind of prediction; inferred from the target column by default. For `csv`."""
    ignore: tuple[str, ...] | None = Field(default=None, strict=False)
    """Columns to ignore. For `csv` and `series`."""
    categorical: tuple[str, ...] | None = Field(default=None, strict=False)
    """Columns of numbers to read as categories. For `csv`."""
    test_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Fraction of the samples in the test split (0.2 by default). For `csv`, `series`, `folder` and `text`."""
    horizon: int | None = Field(default=None, ge=1)
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


def check_data_options(data: str | None, options: DataOptions) -> None:
    """Raise ValueError for the first option that does not apply to `data`; the message starts with its key."""
    kind, colon, _ = (data or "").partition(":")
    for name in options.given:
        if not colon or kind not in _KINDS[name]:
            takers = ", ".join(f"{taker}:PATH" for taker in _KINDS[name])
            raise ValueError(f"data_options.{name}: is for {takers}, not {data or 'a target'}")
