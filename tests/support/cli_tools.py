"""Shared by the tests of the command line: a user's folder with a tiny task, finished searches, `probe` as a subprocess."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]

TASK = """
import probe, torch
from torch import nn

def task(width: int = 8) -> probe.Task:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(120) % 2
    inputs = torch.randn(120, 4, generator=generator) + targets[:, None]
    return probe.Task(
        model=lambda: nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2)),
        train=(inputs[:96], targets[:96]), test=(inputs[96:], targets[96:]),
        metrics={"accuracy": "accuracy"}, optimizer="sgd", batch_size=16, name="two blobs",
    )

def bug() -> probe.Task:
    return 1 / 0

def nothing() -> int:
    return 3

class LooksAtValues(nn.Linear):
    def forward(self, inputs):
        outputs = super().forward(inputs)
        return outputs * (1 if outputs.sum() > 0 else 2)

def looks_at_values() -> probe.Task:
    return probe.Task(model=lambda: LooksAtValues(4, 2), train=(torch.ones(64, 4), torch.zeros(64, dtype=torch.int64)))

def bare(width: int = 8) -> int:
    return width

def no_data() -> probe.Task:
    return probe.Task(model=lambda: nn.Linear(4, 2), train=None)

def bug_in_forward() -> probe.Task:
    class Broken(nn.Linear):
        def forward(self, x):
            raise KeyError("a bug in forward")
    return probe.Task(model=lambda: Broken(4, 2), train=(torch.randn(64, 4), torch.arange(64) % 2), batch_size=8)

def unsupported() -> probe.Task:
    class Unsupported(nn.Linear):
        def forward(self, x):
            raise RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED")
    return probe.Task(model=lambda: Unsupported(4, 2), train=(torch.randn(64, 4), torch.arange(64) % 2), batch_size=8)

def huge() -> probe.Task:
    return probe.Task(model=lambda: nn.Linear(40000, 100), train=(torch.randn(8, 40000), torch.arange(8) % 2), batch_size=2)
"""

RECIPE = """
schema = 1
name = "blobs"
[task]
target = "clitask:task"
objective = { metric = "accuracy", mode = "max" }
[space]
batch_size = 16
lr = { low = 1e-3, high = 1.0, log = true }
width = { choices = [4, 8] }
[search]
sampler = "random"
fidelity = { min = 1, max = 3, factor = 3 }
[budget]
trials = 2
"""


def fill(folder: Path) -> None:
    """A user's folder: clitask.py and blobs.toml."""
    (folder / "clitask.py").write_text(TASK, encoding="utf-8")
    (folder / "blobs.toml").write_text(RECIPE, encoding="utf-8")


@pytest.fixture
def users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the test: a user's folder with clitask.py and blobs.toml."""
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "clitask", raising=False)
    return tmp_path


@dataclass(frozen=True)
class Searches:
    """Two finished searches: random0, whose first trial was given with --try, and grid0."""

    folder: Path
    """Folder with clitask.py, blobs.toml and the two runs. Tests copy it before they change anything."""
    out: str
    """What random0 printed to stdout."""
    err: str
    """What random0 printed to stderr."""


TRIED = "lr=0.125,width=8"


@pytest.fixture(scope="session")
def searches(tmp_path_factory: pytest.TempPathFactory, worker_pool: None) -> Searches:
    from warm_workers import take_from_pool

    from probe.cli.main import run

    folder = tmp_path_factory.mktemp("searches")
    fill(folder)
    search = ["search", "blobs.toml", "--workers", "1", "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch, take_from_pool():
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.delitem(sys.modules, "clitask", raising=False)
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            options = ["--trials", "3", "--seed", "7", "--set", "start=[{lr=0.2}]", "--try", TRIED]
            assert run([*search, *options, "--out", "random0"]) == 0
        assert run([*search, "--set", "search.sampler=grid", "--out", "grid0", "--quiet"]) == 0
        sys.modules.pop("clitask", None)
    return Searches(folder, out.getvalue(), err.getvalue())


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, for a `probe` that runs this source tree."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CI", "PROBE_DATA")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), **changes}


def start_probe(*args: str, folder: Path, **changes: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "probe", *args],
        cwd=folder,
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_result(folder: Path) -> Any:
    """The result.json of the only run in `folder`/reports."""
    [run] = (folder / "reports").iterdir()
    return json.loads((run / "result.json").read_text(encoding="utf-8"))
