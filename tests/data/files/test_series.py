"""series:PATH: windows, what they may see, and what is said about a file that is no series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from probe.data.protocol import DataOptions, LoadedData
from probe.data.registry import data_source, load_data
from probe.errors import TaskError
from probe.loading.validation import hold_out
from probe.models.networks import Lstm
from probe.tasks.source import NamedSource


def write(folder: Path, values: list[Any], *, name: str = "series.csv") -> Path:
    """Two columns: the values, and their row numbers, from 0."""
    path = folder / name
    path.write_text("load,row\n" + "".join(f"{value},{row}\n" for row, value in enumerate(values)))
    return path


def load(path: Path, *, window: Any = 3, val_fraction: float = 0.0, **options: Any) -> LoadedData:
    given = DataOptions(target=options.pop("target", "load"), **options)
    return load_data(
        f"series:{path}",
        data_dir=Path("unused"),
        params={"window": window},
        options=given,
        val_fraction=val_fraction,
    )


def said(path: Path, **given: Any) -> str:
    with pytest.raises(TaskError) as caught:
        load(path, **given)
    return str(caught.value).replace(str(path), "FILE")


def unscaled(data: LoadedData, scaled: torch.Tensor) -> list[float]:
    values = scaled.double() * data.info["deviation"] + data.info["mean"]
    return [round(float(value), 3) for value in values.flatten()]


def test_windows_come_before_their_targets_and_parts_after_each_other(tmp_path: Path) -> None:
    data = load(write(tmp_path, list(range(100, 120))), window=3, test_fraction=0.25)
    assert isinstance(data.train, tuple)
    assert isinstance(data.test, tuple)
    (inputs, targets), (test_inputs, test_targets) = data.train, data.test
    assert (data.kind, data.task_type, data.input_shape, data.time_steps) == ("series", "regression", (3, 2), 15)
    assert inputs.shape == (12, 3, 2)
    assert unscaled(data, inputs[0, :, 0]) == [100, 101, 102]
    assert unscaled(data, targets) == list(range(103, 115))
    assert unscaled(data, test_inputs[0, :, 0]) == [112, 113, 114], "it may look back into the training part"
    assert unscaled(data, test_targets) == list(range(115, 120))
    assert unscaled(data, test_inputs[-1, :, 0]) == [116, 117, 118]


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_a_forecast_several_steps_ahead(tmp_path: Path, horizon: int) -> None:
    data = load(write(tmp_path, list(range(100, 140))), window=4, horizon=horizon, test_fraction=0.25)
    assert data.baseline is not None
    for part in (data.train, data.test):
        assert isinstance(part, tuple)
        last, targets = unscaled(data, data.baseline.predict(part[0])), unscaled(data, part[1])
        assert [target - now for now, target in zip(last, targets, strict=True)] == [horizon] * len(last)
    assert isinstance(data.test, tuple)
    assert unscaled(data, data.test[1]) == list(range(130, 140))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    num_steps=st.integers(20, 60),
    window=st.integers(1, 8),
    horizon=st.integers(1, 3),
    test_fraction=st.floats(0.1, 0.3),
    share=st.floats(0.1, 0.3),
)
def test_what_is_forecast_is_the_same_for_every_window_and_in_one_part_only(
    tmp_path: Path, num_steps: int, window: int, horizon: int, test_fraction: float, share: float
) -> None:
    path = write(tmp_path, list(range(num_steps)), name=f"{num_steps}.csv")
    source = NamedSource(
        model="mlp",
        data=f"series:{path}",
        data_options=DataOptions(target="load", horizon=horizon, test_fraction=test_fraction),
        val_fraction=share,
    )
    parts = []
    for length in (1, window):
        task = hold_out(source.build({"window": length}), fraction=share, seed=0)
        data = load(path, window=length, horizon=horizon, test_fraction=test_fraction, val_fraction=share)
        val = torch.stack([task.val[index][1] for index in range(len(task.val))])
        train = torch.stack([task.train[index][1] for index in range(len(task.train))])
        forecast = [unscaled(data, part) for part in (train, val, task.test[1])]
        assert [*forecast[0], *forecast[1], *forecast[2]] == list(range(length + horizon - 1, num_steps)), (
            "in order, each once"
        )
        parts.append(forecast[1:])
    assert parts[0] == parts[1]


def test_scaling_knows_nothing_of_what_is_held_out(tmp_path: Path) -> None:
    calm = [float(step % 5) for step in range(50)]
    stormy = [*calm[:32], *(1000.0 + step for step in range(18))]
    parts = []
    for name, values in (("calm.csv", calm), ("stormy.csv", stormy)):
        data = load(write(tmp_path, values, name=name), window=2, val_fraction=0.2, test_fraction=0.2)
        assert isinstance(data.train, tuple)
        parts.append(data.train[0][:30])  # 40 steps before the test part, 8 of them held out, windows of the other 32
        fitted = data.train[0][:31].reshape(-1, 2)
        assert float(fitted.abs().max()) < 3
    assert torch.equal(parts[0][..., 0], parts[1][..., 0])


def test_errors_are_told_in_the_targets_units(tmp_path: Path) -> None:
    path = write(tmp_path, [3.0 * (step % 4) for step in range(40)])
    task = NamedSource(model="mlp", data=f"series:{path}", data_options=DataOptions(target="load")).build({"window": 2})
    assert task.baseline is not None
    assert task.baseline.name == "naive forecast (last value)"
    inputs, targets = task.test
    metric = task.metrics["mae"]
    assert callable(metric)
    assert metric(task.baseline.predict(inputs), targets) == pytest.approx((3 + 3 + 3 + 9) / 4, rel=1e-5)


def test_windows_share_their_memory(tmp_path: Path) -> None:
    data = load(write(tmp_path, list(range(1000))), window=200)
    assert isinstance(data.train, tuple)
    assert data.train[0].untyped_storage().nbytes() == 1000 * 2 * 4


def test_a_column_of_times_is_checked_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "times.csv"
    days = [f"2024-01-{day:02}" for day in range(1, 29)]
    path.write_text("load,day\n" + "".join(f"{number % 7},{day}\n" for number, day in enumerate(days)))
    assert load(path).input_shape == (3, 1)
    swapped = [*days[:9], days[10], days[9], *days[11:]]
    path.write_text("load,day\n" + "".join(f"{number % 7},{day}\n" for number, day in enumerate(swapped)))
    assert said(path).startswith("FILE, line 12, column 'day': 2024-01-10 follows 2024-01-11")
    swapped[4] = "soon"
    path.write_text("load,day\n" + "".join(f"{number % 7},{day}\n" for number, day in enumerate(swapped)))
    assert said(path).startswith("FILE, line 6, column 'day': 'soon' is not a date or time")


@pytest.mark.parametrize(
    ("values", "given", "message"),
    [
        (list(range(10)), {"window": 24}, "FILE has 10 rows, 8 before the test split: too few for a window of 24"),
        (list(range(10)), {"window": 24}, "a window of at most 6"),
        (list(range(10)), {"window": 4, "horizon": 5}, "too few for a window of 4 steps and a horizon of 5 steps."),
        (list(range(10)), {"window": 1, "horizon": 9}, "a longer series."),
        ([1], {}, "FILE has 1 row, 0 before the test split"),
        (list(range(10)), {"window": 0}, "window must be a whole number from 1 to 1,000,000, not 0."),
        (list(range(10)), {"window": 2.5}, "window must be a whole number from 1 to 1,000,000, not 2.5."),
        ([0, 1, "", 3], {}, "FILE, line 4, column 'load': the value is missing."),
        ([0, 1, 2, "many"], {}, "FILE, line 5, column 'load': 'many' is not a number"),
        ([1] * 9 + [2], {}, "FILE: the column 'load' is 1 in all of the first 8 rows, which are trained on"),
        (list(range(10)), {"target": "lod"}, "Unknown column of FILE: 'lod'.\nDid you mean load?"),
        (list(range(10)), {"ignore": ("load",)}, "The column 'load' cannot be both the target and ignored."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, values: list[Any], given: dict[str, Any], message: str) -> None:
    assert message in said(write(tmp_path, values), **given)


def test_the_largest_window_that_is_allowed_trains_and_validates(tmp_path: Path) -> None:
    path = write(tmp_path, list(range(10)))
    data = load(path, window=6)
    assert isinstance(data.train, tuple)
    assert len(data.train[0]) == 2


def test_the_window_is_a_hyperparameter(tmp_path: Path) -> None:
    path = write(tmp_path, [step % 6 for step in range(60)])
    assert set(data_source(f"series:{path}").hyperparameters) == {"window"}
    source = NamedSource(model="lstm", data=f"series:{path}", data_options=DataOptions(target="load"))
    assert {"window", "hidden_size", "num_layers", "dropout", "residual"} <= set(source.keywords() or ())
    task = source.build({"window": 5, "hidden_size": 4})
    assert task.model()(task.train[0][:3]).shape == (3, 1)
    assert task.time_steps == 48
    with pytest.raises(
        TaskError, match=r"Unknown hyperparameter of lstm on series:.*: 'windows'.\nDid you mean window\?"
    ):
        source.build({"windows": 5})


@settings(max_examples=20, deadline=None)
@given(
    steps=st.integers(1, 9),
    columns=st.integers(1, 3),
    num_layers=st.integers(1, 3),
    dropout=st.sampled_from([0.0, 0.4]),
    residual=st.booleans(),
)
def test_every_lstm_takes_every_window_and_trains_all_its_parameters(
    steps: int, columns: int, num_layers: int, dropout: float, residual: bool
) -> None:
    model = Lstm(
        input_shape=(steps, columns),
        num_outputs=2,
        hidden_size=3,
        num_layers=num_layers,
        dropout=dropout,
        residual=residual,
    )
    outputs = model(torch.randn(4, steps, columns))
    assert outputs.shape == (4, 2)
    outputs.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_residual_forecast_starts_from_the_last_value_of_the_first_column() -> None:
    model = Lstm(input_shape=(4, 2), num_outputs=1, residual=True)
    nn.init.zeros_(model.output.weight)
    nn.init.zeros_(model.output.bias)
    windows = torch.randn(5, 4, 2)
    torch.testing.assert_close(model(windows), windows[:, -1, :1])


@pytest.mark.parametrize(
    ("params", "rule"),
    [
        ({"hidden_size": 0}, "hidden_size must be a whole number from 1"),
        ({"num_layers": 1.5}, "num_layers must be a whole number from 1"),
        ({"dropout": 1.0}, "dropout must be a number from 0 to below 1"),
        ({"residual": 1}, "residual must be true or false, not 1"),
    ],
)
def test_wrong_hyperparameters(params: dict[str, Any], rule: str) -> None:
    with pytest.raises(TaskError, match=rule):
        Lstm(input_shape=(4, 1), num_outputs=1, **params)


def test_a_short_training_beats_the_naive_forecast(tmp_path: Path) -> None:
    wave = np.sin(np.arange(400) * 2 * np.pi / 8)
    path = write(tmp_path, [f"{value:.6f}" for value in wave])
    source = NamedSource(model="lstm", data=f"series:{path}", data_options=DataOptions(target="load", ignore=("row",)))
    task = source.build({"window": 8, "hidden_size": 8})
    torch.manual_seed(0)
    model = task.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    inputs, targets = task.train
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()  # type: ignore[no-untyped-call]  # unannotated in torch
        optimizer.step()
    assert task.baseline is not None
    rmse = task.metrics["rmse"]
    assert callable(rmse)
    test_inputs, test_targets = task.test
    with torch.no_grad():
        assert rmse(model(test_inputs), test_targets) < 0.5 * rmse(task.baseline.predict(test_inputs), test_targets)
