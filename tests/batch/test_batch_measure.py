"""The batches that an attempt trains and validates on, growth of memory, and the last batch of an epoch."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from probe.batch.attempt import run_attempt
from probe.batch.decide import NextAttempt, duration_of
from probe.batch.find import find_batch_size
from probe.batch.records import Attempt, Purpose
from probe.batch.task_samples import rank_samples
from probe.data.built_in import SyntheticImages
from probe.device.simulated import SimulatedDevice
from probe.task import Task
from probe.training.settings import TrainerSettings


@pytest.fixture(autouse=True, scope="module")
def _young_heap() -> Iterator[None]:
    """Exclude objects of pytest from the full garbage collection at the end of each attempt."""
    gc.freeze()
    yield
    gc.unfreeze()


def attempt(
    task: Task,
    size: int,
    limit_bytes: int = 10**8,
    *,
    purpose: Purpose = "size",
    num_batches: int = 12,
    seconds: float = 1e9,
) -> Attempt:
    return run_attempt(
        task,
        TrainerSettings(optimizer="sgd"),
        NextAttempt(size, purpose),
        device=SimulatedDevice(limit_bytes),
        seed=0,
        rankings=rank_samples(task, seed=0),
        duration=duration_of(purpose, num_batches, seconds),
    )


def peak_of(found: Attempt) -> int:
    assert found.memory is not None
    return found.memory.peak_allocated_bytes


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return torch.as_tensor(self.head(torch.relu(self.embedding(ids)).mean(1)))


def pad(samples: list[Any]) -> tuple[Tensor, Tensor]:
    return pad_sequence([torch.tensor(ids) for ids, _ in samples], batch_first=True), torch.tensor(
        [target for _, target in samples]
    )


def texts(*lengths: int) -> list[tuple[list[int], int]]:
    return [([1] * length, index % 2) for index, length in enumerate(lengths)]


def test_the_longest_lists_of_ids_decide() -> None:
    """Sorted by length, as tokenized data sets often are: the first batches are the smallest."""
    rising = attempt(Task(model=Tokens, train=texts(*range(1, 201)), collate=pad), 8)
    longest = attempt(Task(model=Tokens, train=texts(*[200] * 8), collate=pad), 8)
    assert peak_of(rising) == peak_of(longest)


def test_the_costliest_samples_of_validation_are_tried() -> None:
    task = Task(model=Tokens, train=texts(*[5] * 40), val=texts(*[5] * 30, *[400] * 10), collate=pad)
    without = peak_of(attempt(Task(model=Tokens, train=texts(*[5] * 40), collate=pad), 8))
    assert peak_of(attempt(task, 8)) > 20 * without
    failed = attempt(task, 8, 10 * without)
    assert (failed.outcome, (failed.message or "").partition(":")[0]) == ("oom_in_eval", "in validation")


def images(num_samples: int, side: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(num_samples, 1, side, side), torch.zeros(num_samples, dtype=torch.int64)


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def test_validation_images_may_be_larger_than_training_images() -> None:
    task = Task(model=conv, train=images(60, 8), val=images(20, 64))
    result = find_batch_size(task, device="simulated:1MiB", in_process=True, confirm_seconds=0.0, predict=False)
    alone = find_batch_size(
        Task(model=conv, train=images(60, 8)), device="simulated:1MiB", in_process=True, confirm_seconds=0.0
    )
    assert result.largest_fit is not None
    assert alone.largest_fit is not None
    assert result.largest_fit < alone.largest_fit
    assert {one.outcome for one in result.attempts if not one.fits} == {"oom_in_eval"}


@pytest.mark.parametrize("val", [None, images(20, 8)])
def test_metrics_of_the_user_are_not_called_on_a_few_samples(val: Any) -> None:
    def defined_for_many(outputs: Tensor, targets: Tensor) -> float:
        assert len(outputs) >= 20, "undefined"
        return 1.0

    metrics = {"mine": defined_for_many, "accuracy": "accuracy"}
    assert attempt(Task(model=conv, train=images(20, 8), val=val, metrics=metrics), 2).fits


class Costs(Dataset[Any]):
    """Every tenth sample takes a hundred times as much memory, which only a value shows."""

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        return torch.zeros(4), torch.tensor(100.0 if index % 10 == 7 else 1.0), index % 2


class Unseen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, inputs: Tensor, costs: Tensor) -> Tensor:
        torch.zeros(1000 * int(costs.sum()))
        return torch.as_tensor(self.layer(inputs))


def test_shuffled_batches_show_what_sizes_do_not() -> None:
    task = Task(model=Unseen, train=Costs())
    assert attempt(task, 4, 300_000).fits
    failed = attempt(task, 4, 300_000, purpose="confirm")
    assert (failed.outcome, (failed.message or "").partition(":")[0]) == ("oom", "in training on shuffled batches")
    result = find_batch_size(
        task, device="simulated:900KiB", in_process=True, confirm_steps=50, confirm_seconds=0.0, predict=False
    )
    assert [one.outcome for one in result.attempts if one.purpose == "confirm"][-1] == "fits"
    assert any(one.purpose == "confirm" and not one.fits for one in result.attempts)


class Keeps(nn.Module):
    """Keeps a tensor of every batch that it is trained on."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)
        self.what = what
        self.kept: list[Tensor] = []
        self.bank: Tensor
        self.register_buffer("bank", torch.zeros(0, 64))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs)
        if self.training and self.what == "features":
            self.kept.append(outputs.detach().clone())
        elif self.training and self.what == "a graph":
            self.kept.append(outputs.exp().mean())
        elif self.training and self.what == "a bank":
            self.bank = torch.cat([self.bank, outputs.detach()])
        elif self.what == "a queue" and len(self.kept) < 4:
            self.kept.append(outputs.detach().clone())
        return outputs


def rows(num_samples: int = 320) -> tuple[Tensor, Tensor]:
    return torch.zeros(num_samples, 64), torch.zeros(num_samples, dtype=torch.int64)


def keeping(what: str) -> Task:
    return Task(model=lambda: Keeps(what), train=rows())


@pytest.mark.parametrize("what", ["features", "a graph", "a bank"])
def test_memory_that_grows_is_noticed_with_the_step_at_which_it_ends(what: str) -> None:
    found = attempt(keeping(what), 8, 400_000, purpose="confirm", num_batches=200)
    assert found.growth is not None
    assert found.num_batches == 40, "it ends with an epoch"
    assert found.growth.bytes_per_step >= 8 * 64 * 4
    assert found.growth.last_step is not None
    expected = 40 + (400_000 - peak_of(found)) / found.growth.bytes_per_step
    assert found.growth.last_step == pytest.approx(expected, abs=3)


def test_memory_that_grows_beyond_the_limit_is_recorded_with_the_failure() -> None:
    found = attempt(keeping("features"), 8, 120_000, purpose="confirm", num_batches=200)
    assert found.outcome == "oom"
    assert found.growth is not None
    assert found.growth.last_step == found.num_batches
    assert 8 < found.num_batches < 40


@pytest.mark.parametrize("what", ["nothing", "a queue"])
def test_memory_that_does_not_grow_is_not_said_to(what: str) -> None:
    found = attempt(keeping(what), 8, purpose="confirm", num_batches=60)
    assert (found.fits, found.growth, found.num_batches) == (True, None, 60)


def test_batches_of_different_sizes_are_no_growth() -> None:
    task = Task(model=Tokens, train=texts(*range(1, 201)), collate=pad)
    found = attempt(task, 8, purpose="confirm", num_batches=60)
    assert (found.fits, found.growth, found.batches_per_epoch) == (True, None, 25)


def test_shuffled_batches_have_the_size_that_is_tried() -> None:
    """The last, partial batch of an epoch is tried by the other attempts."""
    sizes: list[int] = []

    def forward(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        if model.training:
            sizes.append(len(batch[1]))
        outputs = model(batch[0])
        return outputs.square().mean(), outputs

    task = Task(model=conv, train=images(21, 8), forward=forward)
    assert attempt(task, 8, purpose="confirm", num_batches=6).batches_per_epoch == 2
    assert set(sizes) == {8}
    attempt(task, 8)
    assert sizes[-1] == 5


def test_synthetic_data_have_no_epochs() -> None:
    task = Task(
        model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4)), train=SyntheticImages(8, num_classes=4)
    )
    found = attempt(task, 4, purpose="confirm", num_batches=5, seconds=0.0)
    assert (found.fits, found.num_batches, found.batches_per_epoch) == (True, 5, None)


def test_one_batch_makes_room_for_the_next() -> None:
    """A model fits although two batches, which are most of its memory, would not fit."""
    task = Task(model=lambda: nn.Linear(1000, 2), train=(torch.zeros(400, 1000), torch.zeros(400, dtype=torch.int64)))
    one_batch = 100 * 1000 * 4
    assert peak_of(attempt(task, 100)) < 1.5 * one_batch
    assert peak_of(attempt(task, 100, purpose="confirm")) < 1.5 * one_batch
