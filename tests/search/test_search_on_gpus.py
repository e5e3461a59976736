"""Whole searches on machines with fake GPUs."""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import known_gpu_memory
import pytest
from fake_gpus import FakeMachine

MIB = 2**20
Make = Callable[..., FakeMachine]
RECIPE = """
schema = 1
name = "layers"
[task]
target = "known_gpu_memory:layers"
objective = { metric = "loss", mode = "min" }
[space]
num_layers = { choices = [NUM_LAYERS] }
batch_size = 16
lr = 0.001
optimizer = "sgd"
[search]
sampler = "grid"
scheduler = "none"
fidelity = { max = 2 }
[budget]
trials = 8
"""


class Watched:
    """A search by the command line, and what its processes were seen to use of the GPUs meanwhile."""

    def __init__(self, machine: FakeMachine, folder: Path, *args: str, num_layers: str = "2, 3") -> None:
        shutil.copy(str(known_gpu_memory.__file__), folder)
        (folder / "layers.toml").write_text(RECIPE.replace("NUM_LAYERS", num_layers))
        self.used: dict[tuple[int, int], int] = defaultdict(int)
        """(process, GPU) -> the most memory that it was seen to use."""
        self.most: Counter[int] = Counter()
        """GPU -> the most memory that was seen to be in use at a time."""
        with ThreadPoolExecutor(1) as pool:
            command = ("search", "layers.toml", "--quiet", "--out", "run", "--device", "cuda", *args)
            running = pool.submit(machine.run, *command, cwd=folder)
            while not wait([running], timeout=0.05).done:
                self._look(machine)
        self.done = running.result()
        assert self.done.returncode == 0, self.done.stderr
        self.result: Mapping[str, Any] = json.loads((folder / "run" / "result.json").read_text())

    def _look(self, machine: FakeMachine) -> None:
        now: Counter[int] = Counter()
        for use in machine.uses() if Path(machine.env["FAKE_GPU_STATE"]).exists() else ():
            if Path(f"/proc/{use.pid}").exists():
                now[use.gpu] += use.num_bytes
            self.used[use.pid, use.gpu] = max(self.used[use.pid, use.gpu], use.num_bytes)
        self.most |= now

    @property
    def statuses(self) -> list[str]:
        return [trial["status"] for trial in self.result["trials"]]


def test_four_workers_on_two_gpus_never_overcommit(fake_machine: Make, tmp_path: Path) -> None:
    """No allocation fails: trials of 80 layers (640 MiB and a context) run alone, those of 2 beside others."""
    machine = fake_machine(count=2, mib=1100, context_mib=200)
    ran = Watched(machine, tmp_path, "--workers", "4", num_layers="2, 80, 3, 40, 4, 41")
    assert ran.statuses == ["complete"] * 6
    assert not any("emory ran out" in warning for warning in ran.result["warnings"])
    assert not any(trial["message"] for trial in ran.result["trials"])
    assert all(trial["memory"]["num_alloc_retries"] == 0 for trial in ran.result["trials"])
    assert sum(trial["epochs"] for trial in ran.result["trials"]) == 12
    assert set(ran.most) == {0, 1}
    assert max(ran.most.values()) <= 1100 * MIB
    num_gpus = Counter(pid for (pid, _), num_bytes in ran.used.items() if num_bytes)
    assert set(num_gpus.values()) == {1}
    assert ran.result["meta"]["device"] == "2 × Fake GPU"


@pytest.mark.parametrize(
    "settings",
    [{"nvml": "init"}, {"mig_instances": 2}, {"count": 2, "visible": "1"}, {"count": 2, "capability": "61,86"}],
    ids=["no-nvml", "mig", "second", "first-without-kernels"],
)
def test_two_workers_share_one_gpu(settings: dict[str, object], fake_machine: Make, tmp_path: Path) -> None:
    machine = fake_machine(mib=1100, context_mib=200, **settings)
    ran = Watched(machine, tmp_path, "--workers", "2", "--trials", "2")
    assert ran.statuses == ["complete"] * 2
    assert ran.result["final"]["epochs"] >= 1
    assert set(ran.most) == {int("count" in settings)}


@pytest.mark.parametrize(
    "settings",
    [
        {"task.validation": '{kind="kfold", k=2}'},
        {
            "search.refine": '{method="hypergradient", after=1, hyperparameters=["lr"]}',
            "space.lr": "{low=0.01, high=0.1}",
        },
        {"search.scheduler": '"asha"', "search.fidelity": "{min=1, max=2, factor=2}"},
    ],
    ids=["folds", "gradients", "promotions"],
)
def test_a_deterministic_search_on_a_gpu(settings: dict[str, str], fake_machine: Make, tmp_path: Path) -> None:
    changes = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    ran = Watched(fake_machine(), tmp_path, "--deterministic", "--trials", "2", *changes)
    assert "complete" in ran.statuses
    assert set(ran.statuses) <= {"complete", "stopped"}
    assert ran.result["final"]["epochs"] >= 1
    assert not any("gradient" in warning and "failed" in warning for warning in ran.result["warnings"])
