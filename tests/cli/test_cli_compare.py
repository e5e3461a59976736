"""`probe compare`, on the results of real searches."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_tools import Searches, environment
from made_records import train_result

from probe.cli.main import run
from probe.report.store import save_result


@pytest.fixture
def here(searches: Searches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two searches by random and two by grid, each pair with seeds 0 and 1."""
    folder = tmp_path / "work"
    shutil.copytree(searches.folder, folder)
    for sampler in ("random", "grid"):
        shutil.copytree(folder / f"{sampler}0", folder / f"{sampler}1")
        change_result(folder / f"{sampler}1", lambda result: result["meta"].update(seed=1))
    monkeypatch.chdir(folder)
    return folder


def change_result(folder: Path, change: Callable[[Any], object]) -> None:
    """Change the result.json of a run."""
    result = json.loads((folder / "result.json").read_text())
    change(result)
    (folder / "result.json").write_text(json.dumps(result))


def test_two_strategies_with_two_seeds(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "random0", "random1", "grid0", "grid1", "--out", "both"]) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("Answer")
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
    assert "grid0, grid1" in " ".join(out.split())  # the warning about curves that are not exact
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
        ([], 2, "at least two runs, not 0"),
        (["random0"], 2, "at least two runs, not 1"),
        (["random0", "random0/"], 2, "random0 is given twice"),
        (["random0", "random0/result.json"], 2, "random0/result.json is given twice"),
        (["random0", "nowhere"], 2, "nowhere"),
        (["nowhere", "neither"], 2, "nowhere does not exist"),
        (["random0", "empty"], 6, "empty .* result.json"),
        (["random0", "trained"], 2, "trained is not a search.* kind train"),
        (["random0", "loss"], 2, "max accuracy.*min loss"),
        (["random0", "grid0", "--out", "random1"], 6, "random1"),
    ],
)
def test_what_cannot_be_compared(
    args: list[str], code: int, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "empty").mkdir()
    (here / "trained").mkdir()
    save_result(train_result(), here / "trained" / "result.json")
    shutil.copytree(here / "random0", here / "loss", ignore=shutil.ignore_patterns("search.sqlite"))
    change_result(here / "loss", lambda result: result.update(metric="loss", mode="min"))
    assert run(["compare", *args]) == code
    assert re.search(message, " ".join(capsys.readouterr().err.split()))
    assert not (here / "reports").exists()
