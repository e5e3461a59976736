"""Sweeps in real child processes, which survive a killed attempt."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from probe.batch.comparison.axes import Axes, compare_batch_sizes
from probe.batch.decide import NextAttempt
from probe.batch.find import find_batch_size
from probe.batch.records import Attempt
from probe.batch.runner import _lost
from probe.batch.sweep import SweepOptions
from probe.errors import TaskError, UserCodeError
from probe.task import Task
from probe.workers.death import Died, WorkerDied


class Fragile(nn.Module):
    """Kills its process at a batch of 16."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if len(inputs) == 16:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.as_tensor(self.layer(inputs))


def task(model: Any, num_samples: int = 16) -> Task:
    return Task(model=model, train=(torch.zeros(num_samples, 4), torch.zeros(num_samples, dtype=torch.int64)))


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_killed_child_is_an_outcome_and_the_winner_is_confirmed_in_a_fresh_one() -> None:
    seen: list[Attempt] = []
    options: dict[str, Any] = {"predict": False, "confirm_seconds": 0.01}
    result = find_batch_size(task(Fragile), device="simulated:10MiB", observer=seen.append, **options)
    assert (result.largest_fit, result.stopped_by) == (8, "finished")
    assert [(attempt.batch_size, attempt.outcome) for attempt in seen[:2]] == [(16, "host_oom"), (8, "fits")]
    assert (seen[-1].purpose, seen[-1].fits) == ("confirm", True)
    assert result.meta.device == "CPU under a simulated limit of 10.0 MiB"


class Hanging(nn.Module):
    """Never returns from a batch of 16."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if len(inputs) == 16:
            threading.Event().wait()
        return torch.as_tensor(self.layer(inputs))


def test_an_attempt_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probe.batch.decide.MIN_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr("probe.batch.decide.TIMEOUT_FACTOR", 0.0)
    options = SweepOptions(size_only=True)
    result = find_batch_size(task(Hanging), device="simulated:10MiB", predict=False, start=8, options=options)
    assert (result.largest_fit, result.stopped_by, result.capped_by) == (8, "finished", "timeout")
    stopped = result.attempts[-1]
    assert (stopped.batch_size, stopped.outcome) == (16, "timed_out")
    assert "1.00 s" in (stopped.message or "")
    assert "--attempt-timeout" in (stopped.message or "")


@pytest.mark.parametrize(("exit_code", "outcome"), [(-9, "host_oom"), (-11, "crashed"), (7, "crashed")])
def test_how_a_child_died_decides_what_it_says_about_the_size(exit_code: int, outcome: str) -> None:
    attempt = _lost(NextAttempt(16, "size"), WorkerDied(Died(exit_code, "its last words")))
    assert attempt.outcome == outcome
    assert attempt.message is not None
    assert ("last words" in attempt.message) is (outcome == "crashed")


class Logged(Dataset[Any]):
    """Token ids of many lengths; each read appends a byte to a file."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __len__(self) -> int:
        return 400

    def __getitem__(self, index: int) -> list[int]:
        with self.log.open("ab") as file:
            file.write(b"x")
        return [1] * (index % 5 + 1)


def pad(samples: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    padded = [ids + [0] * (5 - len(ids)) for ids in samples]
    return torch.tensor(padded, dtype=torch.float32), torch.zeros(len(samples), dtype=torch.int64)


def test_samples_are_measured_by_the_first_child_alone(tmp_path: Path) -> None:
    data = Logged(tmp_path / "reads")
    tried = Task(model=lambda: nn.Linear(5, 2), train=data, collate=pad)
    result = find_batch_size(tried, device="simulated:10MiB", max=4, confirm_steps=1, confirm_seconds=0.0)
    num_trained = sum(attempt.batch_size for attempt in result.attempts)
    assert result.samples[0].num_measured == 400
    num_reads = data.log.stat().st_size
    assert 400 <= num_reads <= 400 + 3 * num_trained + 3 * 16, "3 children, and batches for the prediction"


poisoned = False
"""Whether this process had an error. After an illegal access, every call to a CUDA context fails."""


class Poisoning(nn.Module):
    def __init__(self, smallest: int) -> None:
        super().__init__()
        self.smallest = smallest
        self.layer = nn.Linear(4, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        global poisoned
        poisoned = poisoned or len(inputs) >= self.smallest
        if poisoned:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return torch.as_tensor(self.layer(inputs))


def test_an_error_that_poisons_its_process_is_a_limit_where_fresh_ones_run_smaller_batches() -> None:
    made = task(lambda: Poisoning(8))
    result = find_batch_size(made, device="simulated:10MiB", predict=False, options=SweepOptions(size_only=True))
    assert (result.stopped_by, result.largest_fit, result.capped_by) == ("finished", 4, "error")
    assert [attempt.batch_size for attempt in result.attempts] == [16, 1, 4, 8]
    assert result.attempts[-1].message == "RuntimeError: CUDA error: an illegal memory access was encountered"


def test_a_bug_at_every_size_is_raised_with_its_traceback() -> None:
    made = task(lambda: Poisoning(1))
    with pytest.raises(UserCodeError) as raised:
        find_batch_size(made, device="simulated:10MiB", predict=False)
    error, result = raised.value, raised.value.result
    assert "in forward" in error.traceback
    assert (result.stopped_by, result.largest_fit) == ("error", None)
    assert [attempt.batch_size for attempt in result.attempts] == [16, 1]


def test_a_task_that_cannot_be_sent_is_refused_with_a_way_out() -> None:
    lock = __import__("threading").Lock()
    with pytest.raises(TaskError, match="cannot be sent to a worker process"):
        find_batch_size(task(lambda: (lock, nn.Linear(4, 2))[1]), device="simulated:10MiB")


def test_ctrl_c_keeps_the_variants_that_were_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter([False, True])

    def second_is_interrupted(*args: Any, **options: Any) -> Any:
        if next(calls):
            raise KeyboardInterrupt
        return find_batch_size(*args, **options)

    monkeypatch.setattr("probe.batch.comparison.comparison.find_batch_size", second_is_interrupted)
    axes = Axes(precisions=("fp32", "bf16"))
    options: dict[str, Any] = {"device": "simulated:1MiB", "max": 2, "in_process": True, "confirm_steps": 0}
    found = compare_batch_sizes(task(lambda: nn.Linear(4, 2)), axes, **options)
    assert (found.stopped_by, [variant.precision for variant in found.variants]) == ("interrupted", ["fp32"])
