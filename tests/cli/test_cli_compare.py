"""`probe compare`, with searches that were really run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import environment, fill

from probe.cli.main import run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four searches: two strategies, two seeds."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        fill(folder)
        for sampler in ("random", "grid"):
            for seed in ("0", "1"):
                args = ["--set", f"search.sampler={sampler}", "--seed", seed, "--out", f"{sampler}{seed}", "--quiet"]
                assert run(["search", "blobs.toml", "--workers", "1", "--device", "cpu", *args]) == 0
    return folder


@pytest.fixture
def here(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to work in."""
    folder = tmp_path / "work"
    shutil.copytree(runs, folder)
    monkeypatch.chdir(folder)
    return folder


def test_two_strategies_with_two_seeds(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "random0", "random1", "grid0", "grid1", "--out", "both"]) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("Answer    best validation accuracy on average: blobs, ")
    assert "both/comparison.md" in out
    assert sorted(file.name for file in (here / "both").iterdir()) == ["comparison.md", "comparison.png", "result.json"]
    result = json.loads((here / "both" / "result.json").read_text())
    assert (result["kind"], result["schema"], result["stopped_by"]) == ("search_comparison", 1, "finished")
    assert [(group["title"], group["num_runs"]) for group in result["groups"]] == [
        ("blobs, random", 2),
        ("blobs, grid", 2),
    ]
    assert all(compared["is_exact"] for compared in result["runs"])
    for compared, folder in zip(result["runs"], ("random0", "random1", "grid0", "grid1"), strict=True):
        single = json.loads((here / folder / "result.json").read_text())
        assert compared["curve"][-1]["value"] == compared["value"] == single["best"]["value"]
        assert compared["epochs"] == single["spent"]["epochs"]


def test_by_default_into_reports_and_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "random0", "grid0/result.json", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    [folder] = (here / "reports").iterdir()
    assert re.fullmatch(r"compare-\d{8}T\d{6}Z", folder.name)
    assert json.loads(out) == json.loads((folder / "result.json").read_text())
    assert "Answer" in err
    drawn = (folder / "comparison.md").read_text()
    (folder / "comparison.md").unlink()
    assert run(["report", str(folder)]) == 0
    assert (folder / "comparison.md").read_text() == drawn


def test_a_search_that_was_killed_is_compared_by_its_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "grid0" / "result.json").unlink()
    assert run(["compare", "random0", "grid0", "--out", "c", "--quiet"]) == 0
    compared = json.loads((here / "c" / "result.json").read_text())["runs"][1]
    assert compared["is_exact"]
    assert compared["value"] is not None


def test_without_its_file_or_with_a_damaged_one_the_curve_is_the_results(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "grid0" / "search.sqlite").unlink()
    damaged = here / "grid1" / "search.sqlite"
    damaged.write_bytes(damaged.read_bytes()[:100] + b"no database" * 500)
    assert run(["compare", "random0", "grid0", "grid1", "--out", "c"]) == 0
    out, _ = capsys.readouterr()
    assert "trials are laid end to end in the order of their numbers: grid0, grid1" in " ".join(out.split())
    result = json.loads((here / "c" / "result.json").read_text())
    assert [compared["is_exact"] for compared in result["runs"]] == [True, False, False]


def test_a_comparison_needs_no_torch(here: Path) -> None:
    script = (
        "import sys; from probe.cli.main import run;"
        "code = run(['compare', 'random0', 'grid0', '--quiet']); print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ([], 2, r"at least two runs, and there is none"),
        (["random0"], 2, r"at least two runs, and there is only one"),
        (["random0", "random0/"], 2, r"random0 is named twice"),
        (["random0", "random0/result.json"], 2, r"random0/result.json is named twice"),
        (["random0", "nowhere"], 2, r"nowhere does not exist"),
        (["random0", "empty"], 6, r"The folder empty has no result\.json"),
        (["random0", "trained"], 2, r"trained is no search but a result of kind train"),
        (["random0", "loss"], 2, r"different numbers.*: random0 for max accuracy, loss for min loss"),
        (["random0", "grid0", "--out", "random1"], 6, r"random1 already exists"),
    ],
)
def test_what_cannot_be_compared(
    args: list[str], code: int, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "empty").mkdir()
    if "trained" in args:
        assert run(["train", "random0/best.toml", "--out", "trained", "--quiet", "--device", "cpu"]) == 0
    if "loss" in args:
        goal = ["--set", "task.objective.metric=loss", "--set", "task.objective.mode=min", "--trials", "1"]
        assert run(["search", "blobs.toml", *goal, "--workers", "1", "--out", "loss", "--quiet"]) == 0
    capsys.readouterr()
    assert run(["compare", *args]) == code
    assert re.search(message, " ".join(capsys.readouterr().err.split()))
    assert not (here / "reports").exists()
