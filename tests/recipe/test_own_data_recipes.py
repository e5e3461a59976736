"""The recipes on one's own data run from search to report with a tiny budget; their made data can be made again."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from probe.data.protocol import DataOptions
from probe.errors import RecipeError
from probe.recipe.dump import dump_recipe, recipe_hash
from probe.recipe.load import load_recipe, parse_recipe
from probe.recipe.schema import Recipe
from probe.search.find import find_hyperparameters
from probe.search.records.search import SearchResult
from probe.tasks.source import NamedSource, recipe_source

pytestmark = pytest.mark.usefixtures("warm_workers")

ROOT = Path(__file__).parents[2]
DATA = ROOT / "recipes" / "data"


@pytest.fixture
def make_data() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_data", DATA / "make_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, *overrides: str) -> SearchResult:
    small = ["budget.trials=1", "budget.epochs=2", "budget.time=none", "space.lr=0.001", "search.scheduler=none"]
    recipe = load_recipe(
        ROOT / "recipes" / f"{name}.toml",
        overrides=[*small, "search.fidelity={ min = 1, max = 1 }", "start=[]", *overrides],
    )
    return find_hyperparameters(recipe, device="cpu", num_workers=1)


def test_a_table_to_its_report_beside_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = run("tabular-csv")
    assert result.test is not None
    assert (result.test.metric, result.test.num_samples) == ("rmse", 88)
    assert result.test.baseline is not None
    assert result.test.baseline.name == "mean of the training split"
    assert 60 < result.test.baseline.value < 90


def test_a_series_to_its_report_beside_the_naive_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = run("series-lstm", "space.window=6", "space.hidden_size=16", "space.num_layers=1", "space.batch_size=64")
    assert result.test is not None
    assert (result.test.metric, result.test.num_samples) == ("rmse", 336)
    assert result.test.baseline is not None
    assert result.test.baseline.name == "naive forecast (last value)"
    assert result.test.baseline.value == pytest.approx(2.017, abs=0.01)


def test_images_to_their_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = run("images-folder", "task.model=cnn", "task.image_size=16", "space.batch_size=32")
    assert result.test is not None
    assert (result.test.metric, result.test.num_samples) == ("accuracy", 80)


def test_the_made_data_can_be_made_again(make_data: ModuleType) -> None:
    lines = (DATA / "power-load.csv").read_text().splitlines()[1:]
    assert lines == [",".join(row) for row in make_data.power_load()]
    drawn = make_data.shapes()
    assert sum(len(images) for images in drawn.values()) == len(list((DATA / "shapes").rglob("*.png")))
    for name in ("cross", "ring"):
        stored = np.asarray(Image.open(DATA / "shapes" / name / f"{name}-007.png"))
        assert np.array_equal(stored, drawn[name][7])


def test_the_made_data_stay_small() -> None:
    sizes = {path.name: path.stat().st_size for path in DATA.glob("*.csv")}
    assert max(sizes.values()) < 100_000
    assert sum(path.stat().st_size for path in (DATA / "shapes").rglob("*.png")) < 200_000


def recipe_with(options: dict[str, Any] | None, *, data: str = "csv:houses.csv") -> Recipe:
    task: dict[str, Any] = {"model": "mlp", "data": data, "objective": {"metric": "rmse", "mode": "min"}}
    if options is not None:
        task["data_options"] = options
    return parse_recipe({"schema": 1, "name": "made", "task": task, "space": {}, "budget": {"trials": 1}}, where="made")


def test_what_a_recipe_says_of_its_data_reaches_the_task() -> None:
    given = recipe_with({"target": "price", "task_type": "regression", "ignore": ["id"], "test_fraction": 0.25})
    source = recipe_source(given)
    assert isinstance(source, NamedSource)
    assert source.data_options == DataOptions(
        target="price", task_type="regression", ignore=("id",), test_fraction=0.25, horizon=1
    )
    assert source.val_fraction == 0.2
    assert 'data_options = { target = "price"' in dump_recipe(given)


def test_no_options_are_those_of_a_recipe_without_the_table() -> None:
    without = recipe_with(None)
    assert recipe_hash(recipe_with({})) == recipe_hash(without)
    assert "data_options" not in dump_recipe(without)
    source = recipe_source(without)
    assert isinstance(source, NamedSource)
    assert source.data_options == DataOptions()


@pytest.mark.parametrize(
    ("options", "data", "said"),
    [
        ({"targe": "price"}, "csv:houses.csv", "task.data_options.targe: .*did you mean target"),
        ({"task_type": "ranking"}, "csv:houses.csv", "task.data_options.task_type: .*classification"),
        ({"ignore": "id"}, "csv:houses.csv", r'task.data_options.ignore: must be a list of columns, like \["id"\]'),
        ({"test_fraction": 1.0}, "csv:houses.csv", "task.data_options.test_fraction: "),
        ({"horizon": 0}, "series:load.csv", "task.data_options.horizon: "),
        ({"horizon": 2}, "csv:houses.csv", "task.data_options.horizon: is for series:PATH, not csv:houses.csv"),
        ({"target": "price"}, "digits", "task.data_options.target: is for csv:PATH, series:PATH, not digits"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], data: str, said: str) -> None:
    with pytest.raises(RecipeError, match=f"(?i){said}"):
        recipe_with(options, data=data)
