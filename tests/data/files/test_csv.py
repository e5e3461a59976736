"""csv:PATH: what is read, how it is scaled and split, and what is said about a file that is no good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probe.data.protocol import DataOptions, LoadedData
from probe.data.registry import data_source, load_data
from probe.errors import DataError
from probe.tasks.source import NamedSource


def write(folder: Path, text: str, *, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load(path: Path, **options: Any) -> LoadedData:
    return load_data(f"csv:{path}", data_dir=Path("unused"), options=DataOptions(**options))


def said(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(path, **options)
    return str(caught.value).replace(str(path), "FILE")


def houses(num_rows: int = 40) -> str:
    """rooms, kind and price, one house a line; the first is on line 2."""
    random = np.random.default_rng(0)
    lines = ["rooms,kind,price"]
    for row in range(num_rows):
        rooms = random.integers(1, 9)
        lines.append(f"{rooms},{('flat', 'house')[row % 2]},{100 * rooms + random.normal():.3f}")
    return "\n".join(lines) + "\n"


def test_numbers_are_scaled_by_the_training_part_and_categories_one_hot(tmp_path: Path) -> None:
    data = load(write(tmp_path, houses()))
    assert isinstance(data.train, tuple)
    assert isinstance(data.test, tuple)
    (inputs, targets), (test_inputs, test_targets) = data.train, data.test
    assert (data.kind, data.task_type, data.num_outputs, data.input_shape) == ("table", "regression", 1, (3,))
    assert (inputs.shape, targets.shape) == ((32, 3), (32, 1))
    assert (test_inputs.shape, test_targets.shape) == ((8, 3), (8, 1))
    for column in (inputs[:, 0], targets[:, 0]):
        assert abs(float(column.mean())) < 1e-6
        assert abs(float(column.std(correction=0)) - 1) < 1e-6
    assert abs(float(test_targets.mean())) > 1e-3, "scaled by another part's statistics"
    assert torch.equal(inputs[:, 1:].sum(dim=1), torch.ones(32))
    restored = torch.cat([targets, test_targets]) * data.info["deviation"] + data.info["mean"]
    prices = [float(line.split(",")[2]) for line in houses().splitlines()[1:]]
    np.testing.assert_allclose(sorted(restored[:, 0].tolist()), sorted(prices), rtol=1e-4)


def test_errors_are_told_in_the_targets_units_and_beside_those_of_the_mean(tmp_path: Path) -> None:
    path = write(tmp_path, houses())
    task = NamedSource(model="mlp", data=f"csv:{path}").build({"width": 8})
    assert task.loss == "mse"
    assert not task.stratify
    assert task.baseline is not None
    inputs, targets = task.test
    outputs = task.baseline.predict(inputs)
    rmse, mae = task.metrics["rmse"], task.metrics["mae"]
    assert callable(rmse)
    assert callable(mae)
    data = load(path)
    assert isinstance(data.test, tuple)
    prices = data.test[1] * data.info["deviation"] + data.info["mean"]
    off = prices - data.info["mean"]
    assert rmse(outputs, targets) == pytest.approx(float(off.square().mean().sqrt()), rel=1e-4)
    assert mae(outputs, targets) == pytest.approx(float(off.abs().mean()), rel=1e-4)
    assert task.model()(inputs).shape == targets.shape


@pytest.mark.parametrize(
    ("values", "options", "task_type", "names"),
    [
        (["yes", "no"] * 10, {}, "classification", ("no", "yes")),
        ([0, 1] * 10, {}, "classification", ("0", "1")),
        (["1.0", "2", "10"] * 10, {}, "classification", ("1", "2", "10")),
        ([0.5, 1.5] * 10, {}, "regression", None),
        ([1, 2, 3] * 6, {}, "regression", None),  # three values in 18 rows
        ([1, 2, 3] * 6, {"task_type": "classification"}, "classification", ("1", "2", "3")),
        ([1, 2, 3] * 6, {"categorical": ("y",)}, "classification", ("1", "2", "3")),
        ([0, 1] * 10, {"task_type": "regression"}, "regression", None),
    ],
)
def test_the_target_column_says_what_is_predicted(
    tmp_path: Path, values: list[Any], options: dict[str, Any], task_type: str, names: tuple[str, ...] | None
) -> None:
    rows = "\n".join(f"{number}.5,{value}" for number, value in enumerate(values))
    data = load(write(tmp_path, f"x,y\n{rows}\n"), **options)
    assert (data.task_type, data.class_names) == (task_type, names)
    assert data.num_outputs == (1 if names is None else len(names))


def test_another_column_as_target_and_columns_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, houses())
    data = load(path, target="kind", ignore=("price",))
    assert data.class_names == ("flat", "house")
    assert data.input_shape == (1,)
    assert data.baseline is not None
    scores = data.baseline.predict(torch.zeros(3, 1))
    assert scores.shape == (3, 2)
    assert scores.argmax(dim=1).unique().numel() == 1
    assert load(path, categorical=("rooms",)).input_shape == (8 + 2,)
    half = load(path, test_fraction=0.5).test
    assert isinstance(half, tuple)
    assert half[0].shape == (20, 3)


@pytest.mark.parametrize(
    "text",
    ["a;b\n1;x\n2;y\n3;x\n4;y\n5;x\n6;y\n", "\ufeffa\tb\r\n\r\n1\tx\r\n2\ty\r\n3\tx\r\n4\ty\r\n5\tx\r\n6\ty\r\n"],
)
def test_other_separators_and_line_ends(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    data = load(path, test_fraction=0.34)
    assert data.class_names == ("x", "y")
    assert data.input_shape == (1,)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(0, 3)), min_size=8, max_size=40),
    share=st.floats(0.1, 0.6),
)
def test_every_row_is_in_one_part(tmp_path: Path, rows: list[tuple[float, int]], share: float) -> None:
    text = "".join(f"{x!r},{y}\n" for x, y in rows)
    classes = {y for _, y in rows}
    if len(classes) == 1:
        return
    data = load(
        write(tmp_path, "x,y\n" + text, name=f"{abs(hash(text))}.csv"), task_type="regression", test_fraction=share
    )
    assert isinstance(data.train, tuple)
    assert isinstance(data.test, tuple)
    assert len(data.train[0]) + len(data.test[0]) == len(rows)
    assert bool(torch.isfinite(data.train[0]).all())
    assert bool(torch.isfinite(data.test[0]).all())


GOOD = [f"{row},{row % 2}" for row in range(20)]


def changed(row: int, line: str) -> str:
    lines = ["x,y", *GOOD]
    lines[row - 1] = line
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "FILE is empty."),
        ("x,y\n", {}, "FILE has no rows"),
        (changed(7, ",1"), {}, "FILE, line 7, column 'x': the value is missing."),
        (changed(7, "NaN,1"), {}, "FILE, line 7, column 'x': the value is missing ('NaN')."),
        (changed(7, "5,"), {"task_type": "classification"}, "FILE, line 7, column 'y': the value is missing."),
        (
            changed(7, "five,1").replace("\n3,", "\nthree,"),
            {},
            "FILE, line 5, column 'x': 'three' is not a number, but the column holds numbers (and 1 more in this column).",
        ),
        (changed(4, "inf,1"), {}, "FILE, line 4, column 'x': 'inf' is not a number"),
        (changed(4, "1_0,1"), {}, "FILE, line 4, column 'x': '1_0' is not a number"),
        (changed(4, '"2,5",1'), {}, "Write numbers with a decimal point."),
        (changed(9, "5"), {}, "FILE, line 9: has 1 cell, but the first line names 2 columns."),
        (changed(9, "5,1,2"), {}, "FILE, line 9: has 3 cells"),
        (changed(9, '5,"1'), {}, "FILE, line 21: not valid CSV"),
        (changed(1, "x,x"), {}, "FILE, line 1: columns 1 and 2 are both named 'x'."),
        (changed(1, ",y"), {}, "FILE, line 1: column 1 has no name."),
        (changed(1, "1,2"), {}, "FILE, line 1: has numbers instead of column names"),
        (changed(1, "x,y"), {"target": "yy"}, "Unknown column of FILE: 'yy'.\nDid you mean y?"),
        (changed(1, "x,y"), {"ignore": ("z",)}, "Unknown column of FILE: 'z'.\nKnown: x, y."),
        (changed(1, "x,y"), {"categorical": ("z",)}, "Unknown column of FILE: 'z'."),
        (changed(1, "x,y"), {"ignore": ("y",), "target": "y"}, "The column 'y' cannot be both predicted and ignored."),
        (changed(1, "x,y"), {"ignore": ("x",)}, "to predict 'y' from"),
        ("x,y\n" + "1,a\n2,a\n" * 4, {}, "FILE: every row of the column 'y' has the class 'a'"),
        ("x,y\n" + "1,5\n2,5\n" * 4, {"task_type": "regression"}, "FILE: every row of the column 'y' is 5"),
        (
            "x,y\n" + "1,a\n2,b\n" * 4 + "3,rare\n",
            {},
            "FILE, column 'y': the class 'rare' has 1 row (line 10)",
        ),
        ("x,y\n" + "1,a\n2,b\n" * 4 + "3,rare\n4,rare\n", {}, "the class 'rare' has 2 rows (lines 10, 11)"),
        (
            "x,y\n" + "".join(f"name{row},{row}.5\n" for row in range(9)),
            {},
            "FILE, column 'x': has 9 different texts in 9 rows, too many",
        ),
        (changed(3, "text,1"), {"task_type": "regression", "target": "x"}, "FILE, line 3, column 'x': 'text' is not a number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    assert message in said(write(tmp_path, text), **options)


def test_files_that_are_not_there_or_no_text(tmp_path: Path) -> None:
    path = write(tmp_path, houses(), name="houses.csv")
    assert said(tmp_path / "house.csv") == f"There is no file FILE.\nDid you mean {path}?"
    assert "There is no folder" in said(tmp_path / "nowhere" / "house.csv")
    assert "is a folder, not a CSV file" in said(tmp_path)
    path.write_bytes("x,y\n1,größer\n".encode("latin-1"))
    assert said(path).startswith("FILE: line 2 is not UTF-8 text.")


def test_names_without_a_file_and_kinds_that_are_not_known() -> None:
    with pytest.raises(DataError, match=r"'csv:' names no file.\nWrite .*csv:PATH"):
        data_source("csv:")
    with pytest.raises(DataError, match=r"Unknown kind of data 'cvs'.\nDid you mean csv\?"):
        data_source("cvs:houses.csv")
    with pytest.raises(DataError, match=r"For your own files: csv:PATH"):
        data_source("houses")
    assert data_source("csv:houses.csv").hyperparameters == {}


def test_a_file_is_read_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    path = write(tmp_path, houses())
    first = load(path)
    assert load(path) is first
    write(tmp_path, houses(50))
    assert load(path) is not first


def test_what_cannot_be_done_with_a_table(tmp_path: Path) -> None:
    path = write(tmp_path, houses())
    with pytest.raises(Exception, match="cnn cannot take the rows of a table"):
        NamedSource(model="cnn", data=f"csv:{path}").build({})
    with pytest.raises(Exception, match="holds no images that could be resized to 32 x 32"):
        NamedSource(model="mlp", data=f"csv:{path}", image_size=32).build({})
