"""[task] data_options: what a data file does not say of itself."""

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
"""Which kinds of data, by what stands before the colon, each option is for."""


class DataOptions(Section):
    """Each is None where the recipe does not give it; what holds then, `probe.data.protocol` says."""

    target: str | None = Field(default=None, min_length=1)
    """The column that is predicted."""
    task_type: Literal["classification", "regression"] | None = None
    ignore: tuple[str, ...] | None = Field(default=None, strict=False)
    """Columns that are left out."""
    categorical: tuple[str, ...] | None = Field(default=None, strict=False)
    """Columns whose numbers are names."""
    test_fraction: float | None = Field(default=None, gt=0, lt=1)
    horizon: int | None = Field(default=None, ge=1)
    """Steps ahead."""

    @field_validator("ignore", "categorical", mode="before")
    @classmethod
    def _check_columns(cls, columns: Any) -> Any:
        if isinstance(columns, str):
            raise ValueError(f'must be a list of columns, like ["{columns}"]')
        return columns

    @property
    def given(self) -> dict[str, Any]:
        """Those that the recipe says."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}


def check_data_options(data: str | None, options: DataOptions) -> None:
    """Raise ValueError for the first option that is not for such data, its key in front."""
    kind, colon, _ = (data or "").partition(":")
    for name in options.given:
        if not colon or kind not in _KINDS[name]:
            takers = ", ".join(f"{taker}:PATH" for taker in _KINDS[name])
            raise ValueError(f"data_options.{name}: is for {takers}, not {data or 'a target'}")
