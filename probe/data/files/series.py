"""`series:PATH`: a table with one time step per row; the target column is forecast from a window of past steps.

The test split is the end of the series; the validation split, which is held out later, is the end of the rest. A window may
reach back into an earlier split, whose steps are known by then; each forecast step is in one split only.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
from torch import Tensor

from probe.data.files.regression import NAIVE_FORECAST, Scaling, metrics_in_units
from probe.data.files.tables import Table, read_table
from probe.data.hyperparameters import SERIES
from probe.data.protocol import DataRequest, LoadedData
from probe.errors import DataError
from probe.limits import check_values
from probe.units import format_count_of

DEFAULT_WINDOW = 24


def load(request: DataRequest) -> LoadedData:
    """Windows (N, window, columns), the target column first, and targets (N, 1), `horizon` steps after the end of each window.
    All columns are standardized with the statistics of the steps that are trained on: the series without the test split and
    without `val_fraction` of the rest. Columns of dates or times are checked for their order and left out. Raises DataError."""
    options, window = request.options, dict(request.params).get("window", DEFAULT_WINDOW)
    check_values(SERIES, window=window)
    table = read_table(request.path)
    target = table.find_target(options.target)
    if target in options.ignore:
        raise DataError(f"The column '{target}' cannot be both the target and ignored.")
    table = _without_times(table.without(options.ignore), target)
    values = np.stack([table.numbers(name) for name in (target, *(n for n in table.columns if n != target))], axis=1)
    num_steps, lead = len(values), window + options.horizon - 1
    num_train = num_steps - max(1, round(options.test_fraction * num_steps))
    _check_length(table, num_train, window, options.horizon)
    num_held_out = max(1, round(request.val_fraction * num_train)) if request.val_fraction else 0
    num_fitted = num_train - num_held_out
    fitted = values[:num_fitted]
    if len(np.unique(fitted[:, 0])) == 1:
        raise DataError(
            f"{table.path}: the column '{target}' is {fitted[0, 0]:g} in all of the first {num_fitted:,} rows, which are "
            "trained on, so there is nothing to learn."
        )
    scaling = Scaling.of(fitted)
    scaled = scaling.scaled(values)
    inputs, targets = _windows(scaled, window, options.horizon)
    first_test = num_train - lead
    return LoadedData(
        train=(inputs[:first_test], targets[:first_test]),
        test=(inputs[first_test:], targets[first_test:]),
        kind="series",
        task_type="regression",
        num_outputs=1,
        input_shape=(window, values.shape[1]),
        time_steps=num_train,
        metrics=metrics_in_units(float(scaling.deviation[0])),
        baseline=NAIVE_FORECAST,
        info={"mean": float(scaling.mean[0]), "deviation": float(scaling.deviation[0])},
    )


def _windows(steps: Tensor, window: int, horizon: int) -> tuple[Tensor, Tensor]:
    """(steps, columns) -> all windows (N, window, columns), which share their memory, and their targets (N, 1)."""
    inputs = steps.unfold(0, window, 1).transpose(1, 2)
    targets = steps[window + horizon - 1 :, :1]
    return inputs[: len(targets)], targets


def _check_length(table: Table, num_train: int, window: int, horizon: int) -> None:
    """Raise DataError unless the training split has two samples: one to train on and one for validation."""
    longest = num_train - horizon - 1
    if window <= longest:
        return
    ahead = "" if horizon == 1 else f" and a horizon of {horizon} steps"
    raise DataError(
        f"{table.path} has {format_count_of(table.num_rows, 'row')}, {max(num_train, 0):,} before the test split: too few for "
        f"a window of {window} steps{ahead}.",
        hint=f"Set a window of at most {longest} in the recipe's [space], or use a longer series."
        if longest >= 1
        else "Use a longer series.",
    )


def _without_times(table: Table, target: str) -> Table:
    """The table without columns of dates or times. Raises DataError if one is out of order."""
    for column in table.columns:
        if column == target:
            continue
        times = [_time(cell) for cell in table.columns[column]]
        if times[0] is None:
            continue
        for row, time in enumerate(times):
            if time is None:
                raise DataError(
                    f"{table.where(row, column)}: '{table.columns[column][row]}' is not a date or time like the first one.",
                    hint="Use one format for all, like 2024-01-31 or 2024-01-31 18:00.",
                )
        for row in range(1, len(times)):
            if _is_before(times[row], times[row - 1]):
                cells = table.columns[column]
                raise DataError(
                    f"{table.where(row, column)}: {cells[row]} follows {cells[row - 1]}, but a series must be in time order.",
                    hint="Sort the file, oldest first.",
                )
        table = table.without([column])
    return table


def _time(cell: str) -> datetime | None:
    """Parse ISO 8601 with dashes, or return None; 20240131 is a number."""
    if "-" not in cell[1:]:
        return None
    try:
        return datetime.fromisoformat(cell)
    except ValueError:
        return None


def _is_before(time: datetime | None, other: datetime | None) -> bool:
    try:
        return time is not None and other is not None and time < other
    except TypeError:  # one with a time zone and one without: unknown
        return False
