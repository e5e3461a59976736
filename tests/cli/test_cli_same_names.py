"""Files of the user with the names of Python's modules and of installed packages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import environment, fill

OF_PYTHON = ["random", "queue", "signal", "select", "code", "statistics", "profile", "platform", "json", "test"]
BEFORE_PROBE = ["types", "enum", "re", "probe"]
"""Modules that `python -m` needs before it starts probe, and probe itself: no program can be started there by `python -m`."""
INSTALLED = ["torch", "numpy", "optuna"]
LR = ["lr", "--task", "clitask:task", "--steps", "30"]


def run_probe(folder: Path, *words: str, safe_path: bool = True) -> tuple[int, str]:
    """Exit code and error output of the command `probe`, which does not put the working folder on Python's path, or of
    `python -m probe`, which does."""
    command = [sys.executable, *(["-P"] if safe_path else []), "-m", "probe", *words, "--device", "cpu", "--quiet"]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr


def add(folder: Path, *names: str) -> None:
    for name in names:
        (folder / f"{name}.py").write_text(f"raise RuntimeError('imported {name}')")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path)
    return tmp_path


def test_such_files_in_the_folder_do_no_harm(folder: Path) -> None:
    add(folder, *OF_PYTHON)
    assert run_probe(folder, *LR, safe_path=False) == (0, "")
    add(folder, *BEFORE_PROBE, *INSTALLED)
    assert run_probe(folder, "search", "blobs.toml", "--workers", "2", "--out", "run") == (0, "")
    result = json.loads((folder / "run" / "result.json").read_text())
    assert {trial["status"] for trial in result["trials"]} <= {"complete", "stopped"}


@pytest.mark.parametrize(
    ("statement", "name"), [("from queue import own", "queue"), ("import statistics; statistics.own", "statistics")]
)
def test_a_task_that_means_its_own_file_is_told_to_rename_it(folder: Path, statement: str, name: str) -> None:
    (folder / f"{name}.py").write_text("own = 1")
    task = (folder / "clitask.py").read_text()
    (folder / "clitask.py").write_text(f"{statement}\n{task}")
    code, err = run_probe(folder, *LR)
    assert code == 3
    assert re.search(rf"{name}\.py .*Rename it", err)
    assert "bug" not in err


def test_a_file_that_hides_a_library_of_probe_is_told_to_be_renamed(folder: Path) -> None:
    (folder / "matplotlib.py").write_text("import matplotlib\nmatplotlib.pyplot.plot([1, 2])")
    code, err = run_probe(folder, *LR, "--out", "run")
    assert code == 3
    assert re.search(r"matplotlib\.py .*package.*Rename it", err)
    assert "bug" not in err
    assert json.loads((folder / "run" / "result.json").read_text())["kind"] == "lr"
