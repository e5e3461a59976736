"""`series:PATH`: a table with one time step a row; the target column is forecast from a window of past steps.

Nothing is drawn: the test part is the end of the series, and the validation part, held out later, the end of what is left.
A window may look back across such a border, since what lies there is past by then; what is forecast never lies on both sides.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from torch import Tensor

from probe.data.files.tables import Table, read_table
from probe.data.loaded import DataRequest, LoadedData
from probe.data.regression import Scaling, metrics_in_units, naive_forecast
from probe.errors import DataError

KEYWORDS = ("window",)
DEFAULT_WINDOW = 24


def load(request: DataRequest) -> LoadedData:
    """Windows (N, window, columns), the target column first, and the target `horizon` steps after each window's end (N, 1).

    All columns are scaled to mean 0 and standard deviation 1 over what is trained on: the series without its test part and
    without `val_fraction` of the rest. A column of dates or times is checked for its order and left out.

    Raises DataError: a file that is missing or no table; missing values, text, times out of order; a series too short.
    """
    options, window = request.options, _window(request)
    table = read_table(request.path)
    target = table.find_target(options.target)
    if target in options.ignore:
        raise DataError(f"The column '{target}' cannot be both forecast and ignored.")
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
            "trained on, so nothing is to be learned."
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
        baseline=naive_forecast(),
        facts={"mean": float(scaling.mean[0]), "deviation": float(scaling.deviation[0])},
    )


def _windows(steps: Tensor, window: int, horizon: int) -> tuple[Tensor, Tensor]:
    """(steps, columns) -> every window (N, window, columns), which shares its memory with the others, and its target (N, 1)."""
    inputs = steps.unfold(0, window, 1).transpose(1, 2)
    targets = steps[window + horizon - 1 :, :1]
    return inputs[: len(targets)], targets


def _window(request: DataRequest) -> int:
    value: Any = dict(request.params).get("window", DEFAULT_WINDOW)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DataError(f"window must be a whole number of at least 1, not {value!r}.")
    return value


def _check_length(table: Table, num_train: int, window: int, horizon: int) -> None:
    """At least two samples in the training part: one to train on, one to validate on."""
    longest = num_train - horizon - 1
    if window <= longest:
        return
    ahead = "" if horizon == 1 else f" and a horizon of {horizon} steps"
    rows = f"{table.num_rows:,} row{'' if table.num_rows == 1 else 's'}"
    raise DataError(
        f"{table.path} has {rows}, {max(num_train, 0):,} of them before the test part: too few for "
        f"a window of {window} steps{ahead}.",
        hint=f"Write a window of at most {longest} in the recipe's [space], or give a longer series."
        if longest >= 1
        else "Give a longer series.",
    )


def _without_times(table: Table, target: str) -> Table:
    """Without the column of dates or times, if there is one. Raises DataError where it is out of order."""
    for column in table.columns:
        if column == target:
            continue
        times = [_time(cell) for cell in table.columns[column]]
        if times[0] is None:
            continue
        for row, time in enumerate(times):
            if time is None:
                raise DataError(
                    f"{table.where(row, column)}: '{table.columns[column][row]}' is no date or time, as others there are.",
                    hint="Write them all alike, as 2024-01-31 or 2024-01-31 18:00.",
                )
        for row in range(1, len(times)):
            if _is_before(times[row], times[row - 1]):
                cells = table.columns[column]
                raise DataError(
                    f"{table.where(row, column)}: {cells[row]} comes after {cells[row - 1]}; a series is read in time order.",
                    hint="Sort the file, oldest first.",
                )
        table = table.without([column])
    return table


def _time(cell: str) -> datetime | None:
    """ISO 8601 with dashes; 20240131 is a number."""
    if "-" not in cell[1:]:
        return None
    try:
        return datetime.fromisoformat(cell)
    except ValueError:
        return None


def _is_before(time: datetime | None, other: datetime | None) -> bool:
    try:
        return time is not None and other is not None and time < other
    except TypeError:  # with and without a time zone: nobody knows
        return False
