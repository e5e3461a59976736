"""The script behind the table of recipes/README.md."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = "# Recipes\n\n<!-- results: begin -->\nNothing yet.\n<!-- results: end -->\n\nThe end.\n"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recipes_benchmark", ROOT / "benchmarks" / "recipes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_rows_are_put_between_the_markers_and_others_stay(benchmark: ModuleType) -> None:
    first = benchmark.with_rows(PAGE, {"b": "| `probe search recipes/b.toml` | 1 | 2 | 3 |"})
    assert "Nothing yet" not in first
    both = benchmark.with_rows(first, {"a": "| `probe search recipes/a.toml` | 4 | 5 | 6 |"})
    rows = [line for line in both.splitlines() if "recipes/" in line]
    assert [row[24:25] for row in rows] == ["a", "b"]
    again = benchmark.with_rows(both, {"b": "| `probe search recipes/b.toml` | 7 | 8 | 9 |"})
    assert "| 7 | 8 | 9 |" in again
    assert "| 1 | 2 | 3 |" not in again
    assert again.endswith("<!-- results: end -->\n\nThe end.\n")
    with pytest.raises(ValueError, match="each once"):
        benchmark.with_rows("no markers", {})


def test_the_page_of_recipes_has_the_markers(benchmark: ModuleType) -> None:
    page = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    assert benchmark.with_rows(page, {}).count(benchmark.BEGIN) == 1


def test_a_recipe_whose_data_are_missing_is_skipped_and_its_row_stays(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(PAGE)
    arguments = ["mnist", "--reports", str(tmp_path / "examples"), "--readme", str(readme), "--data-dir", str(tmp_path)]
    assert benchmark.main(arguments) == 0
    assert "skipped: there is no mnist in" in capsys.readouterr().out
    assert readme.read_text() == PAGE


def test_an_unknown_recipe_is_named(benchmark: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmark.main(["digit-kfold"])
    assert "there is no recipe digit-kfold" in capsys.readouterr().err


def test_one_recipe_runs_into_its_row_and_its_example(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme, examples, recipes = tmp_path / "README.md", tmp_path / "examples", tmp_path / "recipes"
    readme.write_text(PAGE)
    recipes.mkdir()
    shutil.copy(ROOT / "recipes" / "digits-regularization.toml", recipes)
    (examples / "digits-regularization").mkdir(parents=True)
    (examples / "digits-regularization" / "old.png").touch()
    folders = ["--recipes", str(recipes), "--reports", str(examples), "--readme", str(readme)]
    tiny = ["--set", "budget.trials=2", "--set", "search.fidelity.max=1", "--set", "space.width=16"]
    assert benchmark.main(["digits-regularization", *folders, *tiny]) == 0
    row = next(line for line in readme.read_text().splitlines() if "digits-regularization" in line)
    assert "loss" in row
    kept = {path.name for path in (examples / "digits-regularization").iterdir()}
    assert {"report.md", "result.json", "trials.csv", "best.toml", "history.png"} <= kept
    assert not {name for name in kept if name.endswith((".sqlite", ".lock"))} | (kept & {"old.png", "checkpoints"})
    assert "All examples together: 0." in capsys.readouterr().out
    wrong = ["--set", "space.widht=16"]
    assert benchmark.main(["digits-regularization", *folders, *wrong]) == 1
    assert "failed: " in capsys.readouterr().out
    assert (examples / "digits-regularization" / "report.md").is_file()  # a failed run leaves the older example
