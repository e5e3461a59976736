"""The recipes for texts, run to their reports on made texts with a tiny budget."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from probe.cli.main import run

pytestmark = pytest.mark.usefixtures("warm_workers")

RECIPES = Path(__file__).parents[2] / "recipes"
TOPICS = {"grain": ("wheat", "corn", "crop"), "crude": ("oil", "barrel", "opec"), "gold": ("mine", "ounce", "bullion")}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Of three topics, each text with a word of its topic among others that say nothing."""
    path = tmp_path / "texts.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(180):
            topic, words = list(TOPICS.items())[number % 3]
            filling = [f"word{(number * 7 + place * 5) % 19}" for place in range(4 + number % 5)]
            filling[number % 4] = words[number % 2 if number % 7 else 2]
            file.write(json.dumps({"text": " ".join(filling), "label": topic}) + "\n")
    return path


@pytest.mark.parametrize("name", ["reuters", "reuters-embedding", "text-transformer"])
def test_a_recipe_for_texts_runs_to_its_report(
    name: str, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    changes = [f"task.data=text:{texts}", "space.vocabulary=40", "space.batch_size=2"]
    arguments = [argument for change in changes for argument in ("--set", change)]
    limits = ["--trials", "3", "--epochs", "12", "--workers", "1", "--device", "cpu"]
    out = tmp_path / "run"
    assert run(["search", str(RECIPES / f"{name}.toml"), *arguments, *limits, "--quiet", "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert result["test"]["num_samples"] == 36
    assert result["best"]["value"] > 0.5, "a guess is right in a third of the cases"
    assert list(result["lr_probes"]) == ([] if name == "reuters-embedding" else [""])
    assert [trial["status"] for trial in result["trials"] if trial["status"] not in ("complete", "stopped")] == []
    report = (out / "report.md").read_text(encoding="utf-8")
    assert ("### Choices compared" in report) == (name != "text-transformer")
    if name == "reuters-embedding":
        tried = {trial["params"]["embedding"] for trial in result["trials"]}
        assert {0, 64} <= tried, "both forms are tried"
