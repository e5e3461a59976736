"""kill -9 in the middle of `probe search`, then `probe report`, `--resume` and `probe export`."""

from __future__ import annotations

import sys
from pathlib import Path

import optuna
import pytest
from cli_tools import fill, read_result, start_probe

from probe.cli.main import run

SEARCH = ["search", "blobs.toml", "--trials", "6", "--workers", "1", "--set", "search.fidelity.max=9", "--quiet"]


def test_a_killed_search_is_shown_resumed_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path)
    with start_probe(*SEARCH[:-1], folder=tmp_path) as running:
        assert running.stderr is not None
        printed = ""
        while "trial 1 after" not in printed:
            line = running.stderr.readline()
            assert line, f"probe ended before it was killed: {printed}"
            printed += line
        running.kill()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    [folder] = (tmp_path / "reports").iterdir()

    assert run(["report", str(folder)]) == 0
    assert "interrupted" in capsys.readouterr().out
    assert "Partial result" in (folder / "report.md").read_text(encoding="utf-8")
    assert not (folder / "result.json").exists()

    assert run([*SEARCH, "--resume", "--seed", "5"]) == 2
    assert "search.seed: 0 -> 5" in capsys.readouterr().err
    assert run([*SEARCH, "--resume"]) == 0
    assert str(Path("reports") / folder.name) in capsys.readouterr().out
    result = read_result(tmp_path)
    assert (result["stopped_by"], result["num_resumes"], len(result["trials"])) == ("trials", 1, 6)

    storage = f"sqlite:///{tmp_path / 'x.db'}"
    assert run(["export", str(folder), "--optuna", storage]) == 0
    assert f"6 trials to {storage} as the study {folder.name}." in capsys.readouterr().out
    assert len(optuna.load_study(storage=storage, study_name=folder.name).trials) == 6
