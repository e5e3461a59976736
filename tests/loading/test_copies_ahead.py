"""Batches that are copied to a GPU ahead: two are there at a time, in attempts and predictions as in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fake_gpus import FakeMachine

Make = Callable[..., FakeMachine]
BATCH_SIZE = 16
BATCH_BYTES = BATCH_SIZE * 4 * 2**16


def _task() -> Any:
    import torch
    from torch import nn

    import probe

    generator = torch.Generator().manual_seed(0)
    samples = [(torch.randn(2**16, generator=generator), torch.tensor(number % 2)) for number in range(5 * BATCH_SIZE)]

    def model() -> nn.Module:
        return nn.Sequential(nn.Unflatten(1, (64, 1024)), nn.AvgPool1d(1024), nn.Flatten(1), nn.Linear(64, 2))

    return probe.Task(model=model, train=samples, optimizer="sgd")


def _epoch() -> tuple[list[float], list[float], list[int]]:
    """First values of the batches on the GPU and on the host, and bytes on the GPU while each is in use."""
    import torch

    from probe.device.cpu import CpuDevice
    from probe.device.select import open_device, parse_device
    from probe.loading.epoch_batches import make_batches

    task, gpu = _task(), open_device(parse_device("cuda"), measuring_memory=False)
    found, expected = (
        make_batches(task, task.train, batch_size=BATCH_SIZE, device=device, seed=0, shuffle=True)
        for device in (gpu, CpuDevice())
    )
    before, values, held = torch.cuda.memory_allocated(), [], []
    for batch in found.epoch(2):
        torch.cuda.synchronize()
        values.append(batch.content[0][0, 0].item())
        held.append(torch.cuda.memory_allocated() - before)
    return values, [batch.content[0][0, 0].item() for batch in expected.epoch(2)], held


def test_two_batches_are_on_the_gpu(fake_machine: Make) -> None:
    values, expected, held = fake_machine().call(_epoch)
    assert values == expected
    assert len(values) == 5
    assert all(2 * BATCH_BYTES <= num_bytes < 2.1 * BATCH_BYTES for num_bytes in held[:-1])
    assert BATCH_BYTES <= held[-1] < 1.1 * BATCH_BYTES


def _peaks() -> tuple[int, int, int]:
    """Peaks of an attempt, of an epoch of training, and of live tensors in the prediction."""
    import torch

    from probe.batch.find import try_batch_size
    from probe.batch.prediction.build_memory_model import build_memory_model
    from probe.batch.prediction.memory_model import MemoryModel
    from probe.device.select import open_device, parse_device
    from probe.training.run import TrainingRun
    from probe.training.settings import TrainerSettings

    task = _task()
    attempt = try_batch_size(task, BATCH_SIZE, device="cuda", in_process=True).memory
    model = build_memory_model(task, in_process=True)
    run = TrainingRun(
        task,
        TrainerSettings(optimizer="sgd", batch_size=BATCH_SIZE),
        device=open_device(parse_device("cuda"), measuring_memory=False),
        seed=0,
    )
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run.train_epoch()
    assert attempt is not None
    assert isinstance(model, MemoryModel)
    return attempt.peak_allocated_bytes, torch.cuda.max_memory_allocated() - before, model.live_peak_bytes(BATCH_SIZE)


def test_attempts_and_predictions_count_both(fake_machine: Make) -> None:
    attempt, training, predicted = fake_machine().call(_peaks)
    assert 2 * BATCH_BYTES <= training < 2.1 * BATCH_BYTES
    assert abs(predicted - training) < 0.05 * BATCH_BYTES
    assert 0 <= attempt - training < 17 * 2**20  # two workspaces of cuBLAS
