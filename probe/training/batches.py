"""Batches of an epoch: indexed out of tensors on the device, or loaded. The order is a function of seed and epoch alone,
so a position in the data is two numbers: the epoch and the batch."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from probe.device.protocol import Device
from probe.seeds import derive_seed
from probe.task import Task
from probe.training.batch import Batch
from probe.training.data import TensorData, as_tensors, num_samples
from probe.training.trees import map_tensors, num_bytes

MAX_RESIDENT_SHARE = 0.25
"""Of a GPU's memory: larger data stays on the host and its batches are copied over."""


class Batches(Protocol):
    """One part of the data, in batches on the device. None of them is kept here: a batch is freed when its user lets it go."""

    num_samples: int
    num_batches: int

    def epoch(self, number: int, *, first: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number` (0-based) in its own order, from batch `first` on."""


class TensorBatches:
    """Batches by indexing. The tensors live on the device if they take at most MAX_RESIDENT_SHARE of its limit."""

    def __init__(self, data: TensorData, *, batch_size: int, device: Device, seed: int, shuffle: bool) -> None:
        limit_bytes = device.limit_bytes
        small = limit_bytes is None or num_bytes(data.tensors) <= MAX_RESIDENT_SHARE * limit_bytes
        self._device = device
        self._home = device.torch_device if small else torch.device("cpu")
        self._tensors = map_tensors(lambda tensor: _resident(tensor, self._home), data.tensors)
        self._indices = data.indices
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        self.num_samples = len(data)
        self.num_batches = count_batches(len(data), batch_size, training=shuffle)

    def epoch(self, number: int, *, first: int = 0) -> Iterator[Batch]:
        with self._device.untracked():
            order = _order(self.num_samples, self._seed, number) if self._shuffle else None
            chosen = torch.from_numpy(self._indices if order is None else self._indices[order.numpy()])
        indices = chosen.to(self._home)
        for start in range(first * self._batch_size, self.num_batches * self._batch_size, self._batch_size):
            yield self._batch(indices[start : start + self._batch_size])

    def _batch(self, rows: Tensor) -> Batch:
        content = map_tensors(partial(torch.index_select, dim=0, index=rows), self._tensors)
        batch = Batch(content, len(rows))
        return batch if self._home == self._device.torch_device else batch.to(self._device.torch_device)


class LoadedBatches:
    """Batches through a DataLoader. Samples are read and collated outside of the accounting of the device's memory."""

    def __init__(self, task: Task, data: Any, *, batch_size: int, device: Device, seed: int, shuffle: bool) -> None:
        self._task = task
        self._data = data
        self._batch_size = batch_size
        self._device = device
        self._seed = seed
        self._shuffle = shuffle
        self.num_samples = num_samples(data)
        self.num_batches = count_batches(self.num_samples, batch_size, training=shuffle)

    def epoch(self, number: int, *, first: int = 0) -> Iterator[Batch]:
        starts = range(first * self._batch_size, self.num_batches * self._batch_size, self._batch_size)
        with self._device.untracked():
            order = _order(self.num_samples, self._seed, number) if self._shuffle else torch.arange(self.num_samples)
            loader: DataLoader[Batch] = DataLoader(
                self._data,
                batch_sampler=[order[start : start + self._batch_size].tolist() for start in starts],
                collate_fn=BatchCollate(self._task.collate),
                num_workers=self._task.num_loader_workers,
                generator=torch.Generator().manual_seed(derive_seed(self._seed, "loader", number)),
            )
            loaded = iter(loader)
        for _ in starts:
            with self._device.untracked():
                on_host = next(loaded)
            counts = self._device.limit_bytes is not None  # on the host, only a simulated device does
            yield on_host.to(self._device.torch_device, copy=counts)


@dataclass(frozen=True, slots=True)
class BatchCollate:
    """Samples -> Batch, by a task's own function or PyTorch's. Picklable if that is, for the processes of a DataLoader."""

    collate: Callable[[list[Any]], Any] | None

    def __call__(self, samples: list[Any]) -> Batch:
        return Batch((self.collate or default_collate)(samples), len(samples))


def make_batches(task: Task, data: Any, *, batch_size: int, device: Device, seed: int, shuffle: bool) -> Batches:
    """Batches of one part of the task's data, by indexing where that is possible. `shuffle` marks the training part."""
    tensors = as_tensors(data, task)
    if tensors is None:
        return LoadedBatches(task, data, batch_size=batch_size, device=device, seed=seed, shuffle=shuffle)
    return TensorBatches(tensors, batch_size=batch_size, device=device, seed=seed, shuffle=shuffle)


def count_batches(samples: int, batch_size: int, *, training: bool) -> int:
    """Batches of an epoch, the last and smaller one included; but one that would hold a single sample is left out of
    training, because batch normalization has no variance there."""
    whole, rest = divmod(samples, batch_size)
    leaves_out = rest == 0 or (training and rest == 1 and whole > 0)
    return whole if leaves_out else whole + 1


def _order(samples: int, seed: int, epoch: int) -> Tensor:
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(samples, generator=generator)


_copies: dict[tuple[int, torch.device], tuple[weakref.ref[Tensor], Tensor]] = {}
"""Copies on devices, so that every trial of one process shares one copy of the data."""


def _resident(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.device == device:
        return tensor
    key = (id(tensor), device)
    held = _copies.get(key)
    if held is None or held[0]() is not tensor:
        held = (weakref.ref(tensor, lambda _: _copies.pop(key, None)), tensor.to(device))
        _copies[key] = held
    return held[1]
