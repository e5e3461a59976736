"""Sweeps on fake GPUs: errors that only large batches cause, emptied caches, drivers that spill, and data on the GPU."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fake_gpus import FakeMachine
from torch import nn

import probe
from probe.batch.find import find_batch_size, try_batch_size
from probe.batch.records import Attempt, BatchResult
from probe.batch.sweep import SweepOptions

MIB = 2**20
Make = Callable[..., FakeMachine]
SIZE_ONLY: dict[str, Any] = {"device": "cuda", "predict": False, "options": SweepOptions(size_only=True)}


class FailsFrom8(nn.Module):
    """Makes the driver fail in one way from batch size 8 on, and hides the error in a group of errors."""

    def __init__(self, function: str, status: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))
        self.function, self.status = function, status

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) >= 8:
            getattr(ctypes.CDLL(None), self.function)(ctypes.c_long(self.status))
        try:
            torch.empty(len(images), 8 * MIB, dtype=torch.uint8, device=images.device)
            return torch.as_tensor(self.layers(images))
        except RuntimeError as error:
            raise ExceptionGroup("parts of the model", [ValueError("the rest"), error]) from None


def _images(num_samples: int, size: int = 8) -> Any:
    return torch.zeros(num_samples, 1, size, size), torch.zeros(num_samples, dtype=torch.int64)


def _with_failing_driver(function: str, status: int) -> BatchResult:
    task = probe.Task(model=lambda: FailsFrom8(function, status), train=_images(32))
    return find_batch_size(task, start=8, max=8, **SIZE_ONLY)


@pytest.mark.parametrize(
    ("function", "status", "outcome", "text"),
    [
        ("fake_fail_mallocs_after", 0, "oom", "CUDA out of memory. Tried to allocate"),
        ("fake_gemm_status", 3, "oom", "CUBLAS_STATUS_ALLOC_FAILED"),
        ("fake_gemm_status", 1, "error", "CUBLAS_STATUS_NOT_INITIALIZED"),
        ("fake_cublas_create_status", 3, "oom", "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate"),
        ("fake_cudnn_status", 4004, "error", "unable to find an engine"),
    ],
)
def test_an_error_that_only_large_batches_cause_is_a_limit(
    function: str, status: int, outcome: str, text: str, fake_machine: Make
) -> None:
    result: BatchResult = fake_machine(mib=2048).call(_with_failing_driver, function, status)
    assert (result.largest_fit, result.stopped_by) == (4, "finished")
    assert result.capped_by == (None if outcome == "oom" else "error")
    failed = [attempt for attempt in result.attempts if not attempt.fits]
    assert {(attempt.batch_size, attempt.outcome) for attempt in failed} == {(8, outcome)}
    assert text in (failed[0].message or "") + (failed[0].traceback or "")


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 1), nn.AdaptiveAvgPool2d(1)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.layers(images)).flatten(1)


def _try(model: Callable[[], nn.Module], batch_size: int, limits_mib: list[int]) -> list[Attempt]:
    task = probe.Task(model=model, train=_images(64, 128))
    return [
        try_batch_size(task, batch_size, device="cuda", memory=f"{limit}MiB", in_process=True) for limit in limits_mib
    ]


def _near_the_limit() -> list[Attempt]:
    """Attempts of one size under all limits from the one at which nothing is retried down to running out of memory."""
    (free,) = _try(TwoLayers, 64, [4000])
    assert free.memory is not None
    lowest, highest = (
        512 + size // MIB for size in (free.memory.peak_allocated_bytes - 200 * MIB, free.memory.peak_reserved_bytes)
    )
    return _try(TwoLayers, 64, list(range(lowest, highest, 8)))


def test_a_batch_whose_first_steps_empty_the_cache_fits(fake_machine: Make) -> None:
    """cuDNN's heuristics offer large workspaces first, which the allocator tries to serve by emptying its cache."""
    attempts: list[Attempt] = fake_machine(mib=8192, plans_mib="200,50,0").call(_near_the_limit)
    retried = [attempt for attempt in attempts if attempt.memory is not None and attempt.memory.num_alloc_retries]
    assert {attempt.outcome for attempt in attempts} == {"fits", "oom"}
    assert any(attempt.fits for attempt in retried)


class SmallAndLargeInTurn(TwoLayers):
    """Takes 400 MiB in small blocks, then in one large block. The allocator keeps these apart, and only one of the two fits."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        small = [torch.empty(MIB, dtype=torch.uint8, device=images.device) for _ in range(400)]
        del small
        torch.empty(400 * MIB, dtype=torch.uint8, device=images.device)
        return super().forward(images)


def _thrashing() -> list[Attempt]:
    task = probe.Task(model=SmallAndLargeInTurn, train=_images(64, 8))
    options: dict[str, Any] = {"device": "cuda", "memory": "1100MiB", "max": 1, "predict": False}
    timed = find_batch_size(task, confirm_steps=0, **options)
    untimed = find_batch_size(task, options=SweepOptions(size_only=True), **options)
    return [*timed.attempts, *untimed.attempts]


def test_a_batch_that_empties_the_cache_in_every_step_thrashes(fake_machine: Make) -> None:
    timed, untimed = fake_machine(mib=8192).call(_thrashing)
    assert (timed.outcome, untimed.outcome) == ("thrashes", "thrashes")
    assert "steady steps" in (timed.message or "")


def _sweep() -> BatchResult:
    task = probe.Task(model=TwoLayers, train=_images(256, 128))
    return find_batch_size(task, device="cuda", start=64, max=256, predict=False, confirm_steps=2)


def test_a_driver_that_spills_ends_the_doubling_where_others_refuse(fake_machine: Make) -> None:
    refusing: BatchResult = fake_machine(mib=500, context_mib=100).call(_sweep)
    spilling: BatchResult = fake_machine(mib=500, context_mib=100, spills=4).call(_sweep)
    assert refusing.largest_fit == spilling.largest_fit
    assert {attempt.outcome for attempt in refusing.attempts} == {"fits", "oom"}
    assert {attempt.outcome for attempt in spilling.attempts} == {"fits", "spills"}


def _on_gpu_before_training() -> int:
    """MiB of the data that a training keeps on the GPU. They are a little below a fourth of 900 MiB."""
    from probe.device.select import open_device, parse_device
    from probe.training.run import TrainingRun
    from probe.training.settings import TrainerSettings

    device = open_device(parse_device("cuda"), measuring_memory=False)
    before = device.live_bytes() or 0
    task = probe.Task(model=TwoLayers, train=_images(100, 128), val=_images(3400, 128))
    TrainingRun(task, TrainerSettings(batch_size=4), device=device, seed=0)
    return ((device.live_bytes() or 0) - before) // MIB


def test_other_programs_do_not_change_which_data_are_on_the_gpu(fake_machine: Make) -> None:
    """Otherwise a training could need more memory than the attempt that measured its batch size beside another program."""
    alone, beside = (fake_machine(mib=900, others_mib=mib).call(_on_gpu_before_training) for mib in (0, 100))
    assert alone == beside == 218
    assert fake_machine(mib=800).call(_on_gpu_before_training) == 0
