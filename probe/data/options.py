"""What a data file does not say of itself. Without PyTorch, like `source.py`, which carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """A recipe's `data_options`: what a file does not say of itself. Which data take which is the recipe's to check."""

    target: str | None = None
    """The column that is predicted; None: the last one."""
    task_type: Literal["classification", "regression"] | None = None
    """What kind of answer the target column holds; None: seen from its values."""
    ignore: tuple[str, ...] = ()
    """Columns that are left out, like row numbers."""
    categorical: tuple[str, ...] = ()
    """Columns whose numbers are names of categories, like codes of districts."""
    test_fraction: float = 0.2
    """Of all samples, for the test part; of a series its end."""
    horizon: int = 1
    """How many steps ahead a series is forecast."""


NO_OPTIONS = DataOptions()
