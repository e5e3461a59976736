"""An allocation that fails at any point of a trial or of an attempt: out of memory, and nothing stays in the process."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fake_gpus import FakeMachine

NUM_POINTS = 40


def trial() -> str:
    from known_gpu_memory import gpu_job

    from probe.search.jobs.trial import run_rung
    from probe.tasks.source import TargetSource

    job = replace(gpu_job(0), source=TargetSource(target="known_gpu_memory:activations"), params={"optimizer": "adamw"})
    return run_rung(job, send=lambda message: None).outcome


def attempt() -> str:
    from probe.batch.context import ProbeConfig, ProbeContext
    from probe.batch.decide import NextAttempt
    from probe.device.select import parse_device
    from probe.tasks.source import TargetSource

    config = ProbeConfig(
        source=TargetSource(target="known_gpu_memory:activations"),
        device=parse_device("cuda"),
        predict=False,
        timed=False,
    )
    return ProbeContext(config).run(NextAttempt(16, "size")).outcome


def failures(run: Callable[[], str], num_points: int) -> list[tuple[str, int]]:
    """The outcome of each run with a failing allocation, and what it left in memory. In the process on the machine."""
    import torch

    fail_after = ctypes.CDLL(None).fake_fail_mallocs_after
    for _ in range(2):  # libraries keep what they allocate first
        run()
    before = torch.cuda.memory_allocated()
    found: list[tuple[str, int]] = []
    for point in range(num_points):
        fail_after(ctypes.c_long(point))
        outcome = run()
        fail_after(ctypes.c_long(-1))
        found.append((outcome, torch.cuda.memory_allocated() - before))
    found.append((run(), torch.cuda.memory_allocated() - before))
    return found


@pytest.mark.parametrize(("run", "success"), [(trial, "finished"), (attempt, "fits")])
def test_an_allocation_that_fails_is_out_of_memory_and_leaves_nothing(
    run: Any, success: str, fake_machine: Callable[..., FakeMachine]
) -> None:
    found = fake_machine().call(failures, run, NUM_POINTS)
    assert found == [("oom", 0)] * NUM_POINTS + [(success, 0)]
