"""Every recipe runs to its report, with a tiny budget and few samples; those whose data are not here are skipped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from probe.recipe.load import load_recipe, parse_recipe
from probe.recipe.schema import Recipe
from probe.report.store import write_report
from probe.search.find import find_hyperparameters

pytestmark = pytest.mark.usefixtures("warm_workers")

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
DATA_DIR = Path(os.environ.get("PROBE_DATA", "data"))
FOLDERS = {"mnist": "MNIST", "reuters": "reuters", "cifar10": "cifar-10-batches-bin"}
"""Of data sets that are no part of a checkout."""


def tiny(recipe: Recipe) -> Recipe:
    """The same with two short trials; where learning rates are probed, a rule of thumb has to do."""
    plain: dict[str, Any] = recipe.to_plain()
    plain["budget"] = {"trials": 2, "epochs": 12}
    plain["search"]["fidelity"] = {"unit": "epochs", "min": 1, "max": 2, "factor": 2}
    if recipe.search.fidelity.unit == "data":
        plain["search"]["fidelity"] = {"unit": "data", "min": 0.1, "max": 0.1, "epochs": 1}
    if recipe.search.refine is not None:
        plain["budget"] = {"trials": 2, "epochs": 30}
        plain["search"]["refine"]["after"] = 1
    if "epochs" in recipe.space:
        plain["space"]["epochs"] = {"choices": [1, 2]}
        plain["start"] = [{k: v for k, v in entry.items() if k != "epochs"} for entry in plain.get("start", [])]
    if recipe.search.sampler == "grid":
        plain["search"]["sampler"] = "random"  # a grid of thousands is no matter for two trials
    if str(recipe.task.data).partition(":")[0] in (*FOLDERS, "folder"):
        plain["task"]["num_train"] = 120 if ":" in str(recipe.task.data) else 1000
    return parse_recipe(plain, where=recipe.name)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.stem))
def test_a_recipe_runs_to_its_report(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(path)
    folder = FOLDERS.get(str(recipe.task.data))
    if folder is not None and not (DATA_DIR / folder).is_dir():
        pytest.skip(f"{recipe.task.data} is not in {DATA_DIR}")
    data_dir = DATA_DIR.absolute()
    monkeypatch.chdir(ROOT)
    result = find_hyperparameters(tiny(recipe), device="cpu", num_workers=1, data_dir=data_dir)
    assert result.best is not None
    assert result.final is not None
    assert {trial.status for trial in result.trials} <= {"complete", "stopped"}
    assert result.test is not None
    page = write_report(result, tmp_path).read_text(encoding="utf-8")
    assert f"# Search: {recipe.name}" in page
