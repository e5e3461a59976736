"""Real training under the simulated limit, in this process."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from probe.batch.attempt import run_attempt
from probe.batch.decide import QUICK, Limits, NextAttempt, duration_of, largest_fit, next_attempt
from probe.batch.find import find_batch_size, fits, try_batch_size
from probe.batch.records import Attempt, BatchResult
from probe.batch.task_samples import rank_samples
from probe.device.simulated import SimulatedDevice
from probe.errors import ProbeError, TaskError, UsageError, UserCodeError
from probe.task import Task
from probe.training.settings import TrainerSettings


@pytest.fixture(autouse=True, scope="module")
def _young_heap() -> Iterator[None]:
    """Exclude objects of pytest and hypothesis from the full garbage collection at the end of each attempt."""
    gc.freeze()
    yield
    gc.unfreeze()


def mlp_task(*layers: int, norm: bool = False, num_samples: int = 64, **options: Any) -> Task:
    def model() -> nn.Module:
        parts: list[nn.Module] = []
        for width_in, width_out in pairwise(layers):
            parts += [nn.Linear(width_in, width_out), nn.BatchNorm1d(width_out) if norm else nn.Tanh()]
        return nn.Sequential(*parts)

    data = (torch.zeros(num_samples, layers[0]), torch.zeros(num_samples, dtype=torch.int64))
    return Task(model=model, train=data, **options)


def attempt(task: Task, size: int, limit_bytes: int, **settings: Any) -> Attempt:
    return run_attempt(
        task,
        TrainerSettings(**settings),
        NextAttempt(size, "size"),
        device=SimulatedDevice(limit_bytes),
        seed=0,
        rankings=rank_samples(task, seed=0),
        duration=duration_of("size", 10, 0.01),
    )


def partial_result(*arguments: Any, **options: Any) -> BatchResult:
    """Run a sweep and return its result, even if an error ended it."""
    try:
        return find_batch_size(*arguments, **options)
    except ProbeError as error:
        if not isinstance(error.result, BatchResult):
            raise
        return error.result


def test_a_fit_is_timed_and_its_peak_is_that_of_a_bare_loop() -> None:
    task = mlp_task(32, 256, 256, 10)
    found = attempt(task, 64, 10**8)
    device = SimulatedDevice(10**8)
    inputs, targets = task.train
    with device.track():
        model = task.model()
        optimizer = torch.optim.AdamW(model.parameters())
        batch = inputs.clone(), targets.clone()
        for _ in range(3):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(model(batch[0]), batch[1]))
            optimizer.step()
    assert found.outcome == "fits"
    assert found.memory is not None
    assert found.memory.peak_allocated_bytes == pytest.approx(device.read_memory().peak_allocated_bytes, rel=0.01)
    assert found.num_steps >= 3
    assert found.samples_per_second == pytest.approx(64 / (found.step_seconds or 0))


def test_one_byte_decides() -> None:
    task = mlp_task(32, 64, 10)
    peak = attempt(task, 16, 10**8).memory
    assert peak is not None
    assert attempt(task, 16, peak.peak_allocated_bytes).outcome == "fits"
    failed = attempt(task, 16, peak.peak_allocated_bytes - 1)
    assert failed.outcome == "oom"
    assert failed.message is not None
    assert failed.message.startswith("in training: CUDA out of memory. Simulated: tried to allocate")


def test_optimizer_state_counts() -> None:
    task = mlp_task(64, 256, 10)
    plain, adam = (attempt(task, 1, 10**8, optimizer=name).memory for name in ("sgd", "adamw"))
    assert plain is not None
    assert adam is not None
    num_bytes = 4 * sum(weight.numel() for weight in task.model().parameters())
    assert adam.peak_allocated_bytes - plain.peak_allocated_bytes >= 2 * num_bytes


def test_running_out_leaves_nothing_behind() -> None:
    device = SimulatedDevice(400_000)
    task = mlp_task(32, 256, 256, 10)
    settings = TrainerSettings()
    for size in (64, 64, 64):
        failed = run_attempt(
            task,
            settings,
            NextAttempt(size, "size"),
            device=device,
            seed=0,
            rankings=rank_samples(task, seed=0),
            duration=duration_of("size", 10, 0.01),
        )
        assert failed.outcome == "oom"
        device.reset_peaks()
        assert device.read_memory().peak_allocated_bytes == 0


class HungryInEvaluation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training:
            torch.zeros(len(inputs), 10_000)
        return torch.as_tensor(self.layer(inputs))


def test_running_out_in_evaluation_is_an_outcome_of_its_own() -> None:
    task = Task(model=HungryInEvaluation, train=(torch.zeros(8, 8), torch.zeros(8, dtype=torch.int64)))
    failed = attempt(task, 8, 100_000)
    assert failed.outcome == "oom_in_eval"
    assert failed.message is not None
    assert failed.message.startswith("in validation: ")
    assert attempt(task, 1, 100_000).outcome == "fits"


def raise_error(error: BaseException) -> Callable[[Any, Any], Any]:
    def forward(model: Any, batch: Any) -> Any:
        raise error

    return forward


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"), "kernel_limit"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "host_oom"),
        (torch.OutOfMemoryError("CUDA out of memory."), "oom"),
    ],
    ids=str,
)
def test_failures_of_the_device_are_values(error: BaseException, outcome: str) -> None:
    assert attempt(mlp_task(4, 2, forward=raise_error(error)), 4, 10**8).outcome == outcome


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(ValueError("their own"), "error"), (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"), "kernel_limit")],
    ids=str,
)
def test_what_may_be_a_bug_keeps_its_traceback(error: Exception, outcome: str) -> None:
    failed = attempt(mlp_task(4, 2, forward=raise_error(error)), 4, 10**8)
    assert (failed.outcome, failed.message) == (outcome, f"{type(error).__name__}: {error}")
    assert failed.traceback is not None
    assert "in forward" in failed.traceback
    assert "_guarded" not in failed.traceback


def test_a_device_that_an_error_has_broken_does_not_hide_that_error() -> None:
    class Broken(SimulatedDevice):
        def release(self) -> None:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def run(task: Task) -> Attempt:
        options: dict[str, Any] = {
            "seed": 0,
            "rankings": rank_samples(task, seed=0),
            "duration": duration_of("size", 1, 0.01),
        }
        return run_attempt(task, TrainerSettings(), NextAttempt(4, "size"), device=Broken(10**8), **options)

    assert run(mlp_task(4, 2, forward=raise_error(IndexError("first")))).message == "IndexError: first"
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(mlp_task(4, 2))


def test_an_error_that_wraps_a_lack_of_memory_is_one() -> None:
    runs_out = raise_error(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"))

    def forward(model: Any, batch: Any) -> Any:
        try:
            runs_out(model, batch)
        except torch.OutOfMemoryError as error:
            raise ValueError("block 3 failed") from error

    failed = attempt(mlp_task(4, 2, forward=forward), 4, 10**8)
    assert (failed.outcome, failed.message) == ("oom", "in training: CUDA out of memory. Tried to allocate 20 MiB")


def test_a_bug_leaves_nothing_on_the_device() -> None:
    device = SimulatedDevice(10**8)
    task = mlp_task(4, 4, 2, norm=True)
    failed = run_attempt(
        task,
        TrainerSettings(),
        NextAttempt(1, "size"),
        device=device,
        seed=0,
        rankings=rank_samples(task, seed=0),
        duration=duration_of("size", 10, 0.01),
    )
    assert failed.outcome == "error"
    assert failed.message is not None
    assert "Expected more than 1 value per channel" in failed.message
    device.release()
    device.reset_peaks()
    assert device.read_memory().peak_allocated_bytes == 0


def test_a_task_that_breaks_its_contract_says_so() -> None:
    with pytest.raises(TaskError, match="The loss must be a scalar tensor"):
        attempt(mlp_task(4, 2, loss=lambda outputs, targets: outputs), 4, 10**8)


def test_gradient_accumulation_is_cut_to_what_a_small_batch_has() -> None:
    assert attempt(mlp_task(4, 2), 2, 10**8, gradient_accumulation=16, batch_size=64).outcome == "fits"


def test_cached_data_is_read_once() -> None:
    class Counting:
        reads = 0

        def __len__(self) -> int:
            return 10

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            self.reads += 1
            return torch.full((4,), float(index)), 0

    data = Counting()
    task = Task(model=lambda: nn.Linear(4, 2), train=data, cache=True)
    assert attempt(task, 8, 10**8).fits
    assert attempt(task, 4, 10**8).fits
    assert data.reads == 10


@pytest.mark.parametrize(
    ("steps", "seconds", "num_batches"),
    [(1, 0.0, 1), (10, 0.0, 10), (40, 0.0, 16), (10, 1e9, 16), (40, 1e9, 40), (2000, 1e9, 1000)],
    ids=str,
)
def test_a_confirming_run_trains_on_an_epoch_and_as_many_batches_as_asked_for_while_there_is_time(
    steps: int, seconds: float, num_batches: int
) -> None:
    task = mlp_task(4, 2)
    found = run_attempt(
        task,
        TrainerSettings(),
        NextAttempt(4, "confirm"),
        device=SimulatedDevice(10**8),
        seed=0,
        rankings=rank_samples(task, seed=0),
        duration=duration_of("confirm", steps, seconds),
    )
    assert (found.fits, found.num_batches, found.batches_per_epoch) == (True, num_batches, 16)
    assert attempt(task, 4, 10**8).num_batches == 0


def test_a_loss_that_is_not_finite_is_measured_with_the_optimizers_state() -> None:
    def no_loss(model: Any, batch: Any) -> Any:
        outputs = model(batch[0])
        return outputs.mean() * float("nan"), outputs

    task = mlp_task(64, 256, 10)
    sound, broken = attempt(task, 8, 10**8), attempt(replace(task, forward=no_loss), 8, 10**8)
    assert broken.fits
    assert broken.message is not None
    assert "the loss is nan" in broken.message
    assert sound.message is None
    assert sound.memory is not None
    assert broken.memory is not None
    assert broken.memory.peak_allocated_bytes == pytest.approx(sound.memory.peak_allocated_bytes, rel=0.01)


class FailsAt(nn.Module):
    """Runs out of memory, or raises another error, at one batch size."""

    def __init__(self, size: int, error: Exception | None = None) -> None:
        super().__init__()
        self.size = size
        self.error = error or torch.OutOfMemoryError("CUDA out of memory.")
        self.layer = nn.Linear(4, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if len(inputs) == self.size:
            raise self.error
        return torch.as_tensor(self.layer(inputs))


def test_the_last_partial_batch_is_trained_on() -> None:
    data = (torch.zeros(21, 4), torch.zeros(21, dtype=torch.int64))
    failed = attempt(Task(model=lambda: FailsAt(5), train=data), 8, 10**8)
    assert failed.outcome == "oom"
    assert failed.message is not None
    assert failed.message.startswith("in training on the data set's last, partial batch: ")
    assert attempt(Task(model=lambda: FailsAt(5), train=data), 4, 10**8).fits  # the last sample is skipped


def test_a_last_partial_batch_that_the_task_refuses_is_a_warning() -> None:
    data = (torch.zeros(21, 4), torch.zeros(21, dtype=torch.int64))
    refusing = Task(model=lambda: FailsAt(5, ValueError("clips of 8")), train=data)
    found = attempt(refusing, 8, 10**8)
    assert found.fits
    assert found.message is not None
    assert "clips of 8" in found.message
    assert found.traceback is not None


@pytest.mark.parametrize("size", [64, 3, 1])
def test_one_size_beside_others(size: int) -> None:
    """An error at the given size is an answer if other sizes run, and is raised if none does."""
    odd = Task(model=lambda: FailsAt(size, ValueError("not this many")), train=mlp_task(4, 2).train)
    tried = try_batch_size(odd, size, device="simulated:1MiB", in_process=True)
    assert (tried.batch_size, tried.outcome, tried.message) == (size, "error", "ValueError: not this many")
    broken = mlp_task(4, 2, forward=raise_error(ValueError("their own")))
    with pytest.raises(UserCodeError, match="their own"):
        fits(broken, size, device="simulated:1MiB", in_process=True)


def test_what_is_recorded_of_the_host_and_of_the_spread() -> None:
    found = attempt(mlp_task(8, 4), 8, 10**8)
    assert found.host_peak_bytes is None or found.host_peak_bytes > 2**20
    assert found.step_seconds_low is not None
    assert found.step_seconds is not None
    assert found.step_seconds_high is not None
    assert 0 < found.step_seconds_low <= found.step_seconds <= found.step_seconds_high


@pytest.mark.parametrize("size", [1, 3, 63, 64])
def test_one_size_can_be_asked_for(size: int) -> None:
    task = mlp_task(8, 4, 2)
    assert fits(task, size, device="simulated:1MiB", in_process=True)
    assert not fits(task, size, device="simulated:100", in_process=True)
    assert try_batch_size(task, size, device="simulated:100", in_process=True).outcome == "oom"


@pytest.mark.parametrize("size", [0, -1, True, 2.0, "4"])
def test_one_size_must_be_a_size(size: Any) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        try_batch_size(mlp_task(4, 2), size, device="simulated:1MiB")


def test_one_size_must_not_exceed_the_data() -> None:
    with pytest.raises(UsageError, match=r"batch of 65 .* training set of 64"):
        fits(mlp_task(4, 2), 65, device="simulated:1MiB", in_process=True)


@pytest.mark.parametrize("seed", range(40))
def test_the_sweep_finds_what_trying_every_size_finds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models, optimizers and limits; every attempt is real training with little timing."""
    monkeypatch.setattr("probe.batch.decide.QUICK", replace(QUICK, min_steps=1, max_steps=1))
    draw = random.Random(seed)
    layers = [draw.choice([4, 16, 64]) for _ in range(draw.randint(1, 3))]
    task = mlp_task(*layers, 10, norm=draw.random() < 0.3, num_samples=draw.choice([7, 16, 20]))
    optimizer = draw.choice(["sgd", "adamw", "rmsprop"])
    limits = Limits(start=draw.choice([1, 4, 512]), max=draw.choice([None, 10]), num_samples=len(task.train[0]))
    peaks = {}
    for size in (1, 2, 4, 8, 16):
        if size <= (limits.bound or 1):
            tried = attempt(task, size, 10**9, optimizer=optimizer)
            if tried.outcome != "error":  # batch normalization over one sample
                peaks[size] = tried.memory.peak_allocated_bytes if tried.memory is not None else 0
    limit = draw.randint(int(min(peaks.values()) * 0.8), int(max(peaks.values()) * 1.1))
    expected = max((size for size, peak in peaks.items() if peak <= limit), default=None)
    result = partial_result(
        task,
        params={"optimizer": optimizer},
        device=f"simulated:{limit}",
        start=limits.start,
        max=limits.max,
        in_process=True,
        confirm_seconds=0.001,
    )
    assert result.largest_fit == expected


def test_the_sweep_in_this_process_leaves_its_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    result = find_batch_size(mlp_task(8, 16, 10), device="simulated:1MiB", in_process=True, confirm_seconds=0.001)
    assert (result.largest_fit, result.capped_by, result.stopped_by) == (64, "data", "finished")
    assert torch.equal(torch.rand(3), expected)


def test_no_attempt_is_repeated_for_the_same_purpose() -> None:
    result = find_batch_size(
        mlp_task(8, 16, 10), device="simulated:30KiB", in_process=True, confirm_seconds=0.001, start=64
    )
    limits = Limits(start=64, num_samples=64)
    assert next_attempt(result.attempts, limits) is None
    assert largest_fit(result.attempts) == result.largest_fit


def test_what_a_failed_attempt_leaves_alive_does_not_count_in_this_process() -> None:
    """PyTorch keeps the graph of a backward pass that ran out of memory."""
    left: list[torch.Tensor] = []

    class Leaking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(32, 32)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            if len(inputs) > 16:
                left.append(torch.zeros(10_000))
                raise torch.OutOfMemoryError("CUDA out of memory")
            return torch.as_tensor(self.layer(inputs))

    data = torch.zeros(64, 32), torch.zeros(64, dtype=torch.int64)
    task = Task(model=Leaking, train=data)
    options: dict[str, Any] = {"device": "simulated:1MiB", "in_process": True, "predict": False, "confirm_steps": 0}
    after_failures = find_batch_size(task, start=64, **options)
    without = find_batch_size(task, start=16, max=16, **options)
    assert len(left) == 2
    assert (after_failures.largest_fit, without.largest_fit) == (16, 16)
    peaks = [
        next(a.memory.peak_allocated_bytes for a in result.attempts if a.batch_size == 16 and a.memory is not None)
        for result in (after_failures, without)
    ]
    assert peaks[0] == peaks[1]
