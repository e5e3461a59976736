"""The four strategies and the gradient recipe run to their reports, with tiny budgets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from probe.cli.main import run
from probe.recipe.load import load_recipe
from probe.search.space.configurations import grid_size
from probe.search.space.dimensions import build_space

pytestmark = pytest.mark.usefixtures("warm_workers")

RECIPES = Path(__file__).parents[2] / "recipes"
STRATEGIES = ("grid", "random", "bayes", "evolution")


def test_the_four_differ_in_nothing_but_the_strategy() -> None:
    recipes = [load_recipe(RECIPES / f"digits-{name}.toml") for name in STRATEGIES]
    plain = [recipe.to_plain() for recipe in recipes]
    assert [entry["search"].pop("sampler") for entry in plain] == ["grid", "random", "gp", "evolutionary"]
    for entry in plain:
        entry.pop("name")
    assert plain.count(plain[0]) == 4
    assert grid_size(build_space(recipes[0])) == recipes[0].budget.trials


def test_all_run_and_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = ["--trials", "3", "--set", "search.fidelity.max=1", "--workers", "1", "--device", "cpu", "--quiet"]
    for name in STRATEGIES:
        assert run(["search", str(RECIPES / f"digits-{name}.toml"), *tiny, "--out", name]) == 0
    steps = ["--trials", "4", "--set", "search.fidelity.max=2", "--set", "search.refine.after=2"]
    assert run(["search", str(RECIPES / "digits-gradient.toml"), *tiny[4:], *steps, "--out", "gradient"]) == 0
    out = capsys.readouterr().out
    assert "gradient step" in out
    result = json.loads(Path("gradient/result.json").read_text())
    made = [trial["refinement"] for trial in result["trials"]]
    assert made[:2] == [None, None]
    assert made[2]["epochs"] > 0
    assert set(made[2]["gradient"]) == {"lr", "momentum", "weight_decay", "l1", "label_smoothing"}
    assert result["spent"]["epochs"] == sum(trial["epochs"] for trial in result["trials"])
    assert "### Gradient steps" in Path("gradient/report.md").read_text()
    assert run(["compare", *STRATEGIES, "gradient", "--out", "all", "--quiet"]) == 0
    compared = json.loads(Path("all/result.json").read_text())
    assert [group["title"] for group in compared["groups"]] == [f"digits-{name}" for name in (*STRATEGIES, "gradient")]
