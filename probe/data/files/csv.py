"""`csv:PATH`: a table with one sample per row, of which one column is predicted from the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from probe.data.files.regression import MEAN, Scaling, metrics_in_units, most_frequent_class
from probe.data.files.tables import Table, read_table
from probe.data.protocol import TEST_SEED, DataRequest, LoadedData, TaskType
from probe.errors import DataError
from probe.splits import hold_out_indices

MAX_CLASSES = 20
"""Largest number of different integers that are inferred to be classes."""
MAX_CATEGORIES = 1000
MIN_MEMBERS = 3
"""Smallest number of rows per class: one for each split."""


def load(request: DataRequest) -> LoadedData:
    """Columns of numbers standardized with the training split's statistics, categories one-hot, in the order of the file. The
    test split is a fraction of the rows, stratified by class. Raises DataError for unusable contents."""
    options = request.options
    table = read_table(request.path)
    target = table.find_target(options.target)
    for column in options.categorical:
        table.check_column(column)
    if target in options.ignore:
        raise DataError(f"The column '{target}' cannot be both predicted and ignored.")
    table = table.without(options.ignore)
    if len(table.columns) < 2:
        raise DataError(
            f"{table.path}: no columns are left to predict '{target}' from.",
            hint="A table needs at least one column besides the target.",
        )
    if _is_classification(table, target, options.task_type, options.categorical):
        return _classification(table, target, request)
    return _regression(table, target, request)


def _is_classification(table: Table, target: str, given: TaskType | None, categorical: tuple[str, ...]) -> bool:
    """As given, else whether the target is text, or few different integers that occur in ten rows each on average."""
    if given is not None:
        return given == "classification"
    if target in categorical or not table.is_numeric(target):
        return True
    values = table.numbers(target)
    few = max(2, min(MAX_CLASSES, len(values) // 10))
    return bool((values == np.round(values)).all()) and len(np.unique(values)) <= few


def _classification(table: Table, target: str, request: DataRequest) -> LoadedData:
    names, classes = _read_classes(table, target, request.options.categorical)
    train, test = hold_out_indices(len(classes), fraction=request.options.test_fraction, seed=TEST_SEED, labels=classes)
    inputs = _inputs(table, target, train, request.options.categorical)
    targets = torch.from_numpy(classes)
    frequent = int(np.bincount(classes[train]).argmax())
    return LoadedData(
        train=(inputs[train], targets[train]),
        test=(inputs[test], targets[test]),
        kind="table",
        num_outputs=len(names),
        input_shape=(inputs.shape[1],),
        class_names=names,
        baseline=most_frequent_class(frequent, num_classes=len(names)),
    )


def _regression(table: Table, target: str, request: DataRequest) -> LoadedData:
    values = table.numbers(target)
    if len(np.unique(values)) == 1:
        raise DataError(
            f"{table.path}: every row of the column '{target}' is {table.columns[target][0]}, so there is nothing to learn."
        )
    train, test = hold_out_indices(len(values), fraction=request.options.test_fraction, seed=TEST_SEED, labels=None)
    inputs = _inputs(table, target, train, request.options.categorical)
    scaling = Scaling.of(values[train, None])
    targets = scaling.scaled(values[:, None])
    return LoadedData(
        train=(inputs[train], targets[train]),
        test=(inputs[test], targets[test]),
        kind="table",
        task_type="regression",
        num_outputs=1,
        input_shape=(inputs.shape[1],),
        metrics=metrics_in_units(float(scaling.deviation[0])),
        baseline=MEAN,
        info={"mean": float(scaling.mean[0]), "deviation": float(scaling.deviation[0])},
    )


def _read_classes(
    table: Table, target: str, categorical: tuple[str, ...]
) -> tuple[tuple[str, ...], np.ndarray[Any, Any]]:
    """The sorted names of the classes, and the class number of each row."""
    if target not in categorical and table.is_numeric(target):
        values = table.numbers(target)
        names = tuple(f"{value:g}" for value in np.unique(values))
        classes = np.unique(values, return_inverse=True)[1].astype(np.int64)
    else:
        names = tuple(sorted(set(table.texts(target))))
        numbers = {name: number for number, name in enumerate(names)}
        classes = np.array([numbers[text] for text in table.columns[target]], dtype=np.int64)
    if len(names) == 1:
        raise DataError(
            f"{table.path}: every row of the column '{target}' has the class '{names[0]}', but at least two are needed.",
            hint=f"Columns: {', '.join(table.columns)}. Choose another target with data_options = {{ target = ... }}.",
        )
    _check_members(table, target, names, classes)
    return names, classes


def _check_members(table: Table, target: str, names: tuple[str, ...], classes: np.ndarray[Any, Any]) -> None:
    counts = np.bincount(classes)
    if counts.min() >= MIN_MEMBERS:
        return
    rarest = int(counts.argmin())
    lines = [str(table.lines[row]) for row in np.flatnonzero(classes == rarest)]
    rows = "1 row (line" if len(lines) == 1 else f"{len(lines)} rows (lines"
    raise DataError(
        f"{table.path}, column '{target}': the class '{names[rarest]}' has {rows} {', '.join(lines)}), but the "
        "training, validation and test splits need one each.",
        hint="Add rows of that class, or delete these; if the column holds quantities, write "
        'data_options = { task_type = "regression" }.',
    )


def _inputs(table: Table, target: str, train: np.ndarray[Any, Any], categorical: tuple[str, ...]) -> Tensor:
    """(rows, inputs) of float32, standardized with the statistics of the rows `train`."""
    columns = []
    for column in table.columns:
        if column == target:
            continue
        if column not in categorical and table.is_numeric(column):
            values = table.numbers(column)[:, None]
            columns.append(Scaling.of(values[train]).scaled(values))
        else:
            columns.append(_one_hot(table, column))
    return torch.cat(columns, dim=1)


def _one_hot(table: Table, column: str) -> Tensor:
    texts = table.texts(column)
    names = sorted(set(texts))
    if len(names) > max(2, min(MAX_CATEGORIES, len(texts) // 2)):
        raise DataError(
            f"{table.path}, column '{column}': has {len(names):,} different texts in {len(texts):,} rows, too many for "
            "categories.",
            hint=f'Ignore it with data_options = {{ ignore = ["{column}"] }}, or use fewer categories.',
        )
    numbers = {name: number for number, name in enumerate(names)}
    return torch.nn.functional.one_hot(torch.tensor([numbers[text] for text in texts]), len(names)).float()
