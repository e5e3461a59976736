"""User code that prints, exits or changes the current folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cli_tools import fill, start_probe

from probe.cli.main import run

PRINTS = """
import atexit, os
print("imported")
os.system("echo from another process")
atexit.register(print, "the last word")
os.makedirs("elsewhere", exist_ok=True)
os.chdir("elsewhere")
from clitask import task as quiet

def task(width=8):
    print("making the task")
    return quiet(width)
"""
EXITS = {
    "parses": (
        "import argparse; argparse.ArgumentParser().parse_args(); task = print",
        "parses the command line when it",
    ),
    "exits": ("import sys; sys.exit(7)", r"calls sys.exit(7) when it is imported"),
    "stops": ("import sys\ndef task(): sys.exit('no data')", "calls sys.exit('no data') instead of returning a task"),
    "ends": (
        "import sys, torch, probe\nclass Net(torch.nn.Linear):\n    def forward(self, x): sys.exit(2)\n"
        "def task(): return probe.Task(model=lambda: Net(2, 2), train=(torch.ones(64, 2), torch.arange(64) % 2))",
        "calls sys.exit(2) while it is trained",
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", EXITS)
def test_user_code_that_exits_is_an_error(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    code, said = EXITS[name]
    (folder / f"{name}.py").write_text(code)
    monkeypatch.setattr(sys, "argv", ["probe", "--not-theirs"])
    assert run(["lr", "--task", f"{name}:task", "--device", "cpu", "--quiet"]) == 3
    err = capsys.readouterr().err
    assert said in err
    assert ("__main__" in err) == (name in ("parses", "exits"))
    sys.modules.pop(name, None)


def test_stdout_is_json_only_and_equals_the_file(folder: Path) -> None:
    (folder / "prints.py").write_text(PRINTS)
    words = ["lr", "--task", "prints:task", "--device", "cpu", "--steps", "40", "--out", "run", "--json", "-"]
    with start_probe(*words, folder=folder) as started:
        stdout, stderr = started.communicate(timeout=120)
    assert started.returncode == 0, stderr
    assert json.loads(stdout) == json.loads((folder / "run" / "result.json").read_text())
    for printed in ("imported", "from another process", "making the task", "the last word", "run/report.md"):
        assert printed in stderr
    assert (folder / "run" / "report.md").is_file()
