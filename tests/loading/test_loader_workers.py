"""Workers of a DataLoader: where they are started by default, and random numbers that do not depend on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from made_tasks import made_task
from torch import Tensor
from torch.utils.data import Dataset, Subset

from probe.device.cpu import CpuDevice
from probe.loading import loader_workers
from probe.loading.epoch_batches import BatchCollate, LoadedBatches
from probe.loading.loader_workers import MAX_DEFAULT_WORKERS, default_workers


class Noisy(Dataset[Any]):
    """Samples that are read by code, and are random."""

    def __init__(self, extra: Any = None) -> None:
        self.extra = extra

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.rand(6), index % 3


class Broken(Noisy):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        raise FileNotFoundError(f"image {index} of the task is missing")


def workers_for(data: Any) -> int:
    return default_workers(data, BatchCollate(None), 4)


def test_data_that_are_read_by_code_have_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loader_workers, "MIN_READING_SECONDS", 0.0)
    expected = min(MAX_DEFAULT_WORKERS, torch.get_num_threads())
    before = torch.random.get_rng_state()
    assert workers_for(Noisy()) == workers_for(Subset(Noisy(), [3, 1])) == expected
    assert torch.equal(torch.random.get_rng_state(), before)
    in_memory = [(torch.rand(6), 0)] * 20
    assert workers_for(in_memory) == workers_for(Subset(in_memory, [0])) == 0  # type: ignore[arg-type]  # a list will do
    with (tmp_path / "samples").open("w") as file:
        assert workers_for(Noisy(file)) == 0  # processes would share its position
    assert workers_for(Broken()) == 0
    monkeypatch.setattr(loader_workers, "SHARED_MEMORY", tmp_path / "missing")
    assert workers_for(Noisy()) == 0


def test_data_that_are_read_quickly_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_workers, "MIN_READING_SECONDS", 1e6)
    assert workers_for(Noisy()) == 0


def batches_of(num_workers: int, data: Any = None) -> LoadedBatches:
    task = made_task(train=data or Noisy(), num_workers=num_workers)
    return LoadedBatches(task, task.train, batch_size=4, device=CpuDevice(), seed=7, shuffle=True)


def inputs_of(batches: LoadedBatches, epoch: int) -> Tensor:
    return torch.cat([batch.content[0] for batch in batches.epoch(epoch)])


def test_random_samples_depend_on_the_epoch_and_not_on_the_workers() -> None:
    one, two = batches_of(1), batches_of(2)
    first, second = inputs_of(one, 0), inputs_of(one, 1)
    assert not torch.equal(first, second)
    next(two.epoch(3))  # an epoch that is left early
    assert torch.equal(inputs_of(two, 1), second)
    assert torch.equal(inputs_of(two, 0), first)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    inputs_of(one, 2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_errors_of_workers_have_a_traceback() -> None:
    with pytest.raises(FileNotFoundError, match=r"(?s)test_loader_workers\.py.*image \d+ of the task is missing"):
        next(batches_of(1, Broken()).epoch(0))
