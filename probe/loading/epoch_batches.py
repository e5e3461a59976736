"""Batches of an epoch: indexed from tensors on the device, or loaded. Their order depends on the seed and the epoch only, so
that a position in the data is given by an epoch and a batch number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from probe.device.protocol import Device
from probe.errors import TaskError
from probe.loading.batch import Batch, checked_content, stack_samples
from probe.loading.caches import WeakMemo
from probe.loading.dataset import TensorData, as_tensors, samples_to_load, tensor_bytes
from probe.loading.trees import map_tensors, tensors_of
from probe.seeds import derive_seed
from probe.task import Task

MAX_RESIDENT_FRACTION = 0.25
"""Largest fraction of a GPU's memory for the training and validation data. Larger data stay on the host, and each batch is
copied. It is a fraction of the whole memory: if it depended on what other processes use, a training could need more memory
than the attempt that measured its batch size."""


class Batches(ABC):
    """One split of the data, as batches on the device."""

    def __init__(self, num_samples: int, *, batch_size: int, device: Device, seed: int, shuffle: bool) -> None:
        self._batch_size = batch_size
        self._device = device
        self._seed = seed
        self._shuffle = shuffle
        self.num_samples = num_samples
        self.num_batches = count_batches(num_samples, batch_size, training=shuffle)
        self._starts = range(0, self.num_batches * batch_size, batch_size)

    @abstractmethod
    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch `number` (from 0)."""


class TensorBatches(Batches):
    """Batches by indexing. If `resident`, the tensors are kept on the device."""

    def __init__(
        self, data: TensorData, *, batch_size: int, device: Device, seed: int, shuffle: bool, resident: bool = True
    ) -> None:
        super().__init__(len(data), batch_size=batch_size, device=device, seed=seed, shuffle=shuffle)
        self._target = device.torch_device
        resident = resident or all(_is_resident(tensor, self._target) for tensor in tensors_of(data.tensors))
        self._home = self._target if resident else torch.device("cpu")
        self._tensors = map_tensors(lambda tensor: _resident(tensor, self._home), data.tensors)
        self._indices = data.indices

    def epoch(self, number: int) -> Iterator[Batch]:
        with self._device.untracked():
            chosen = self._indices
            if self._shuffle:
                chosen = chosen[_order(self.num_samples, self._seed, number).numpy()]
            indices = torch.from_numpy(chosen)
        indices = indices.to(self._home)
        for start in self._starts:
            # No reference to the batch is kept, to free its memory.
            yield self._batch(indices[start : start + self._batch_size])

    def _batch(self, rows: Tensor) -> Batch:
        batch = Batch(map_tensors(partial(torch.index_select, dim=0, index=rows), self._tensors), len(rows))
        return batch if self._home == self._target else batch.to(self._target)


class LoadedBatches(Batches):
    """Batches from a DataLoader. Reading and collating samples does not count as device memory."""

    def __init__(self, task: Task, data: Any, *, batch_size: int, device: Device, seed: int, shuffle: bool) -> None:
        super().__init__(len(data), batch_size=batch_size, device=device, seed=seed, shuffle=shuffle)
        self._task = task
        self._data = data

    def epoch(self, number: int) -> Iterator[Batch]:
        counts = self._device.limit_bytes is not None  # of the devices on the host, only a simulated one has a limit
        with self._device.untracked():
            loaded = iter(self._loader(number))
        for _ in self._starts:
            with self._device.untracked():
                on_host = next(loaded)
            yield on_host.to(self._device.torch_device, copy=counts)

    def _loader(self, number: int) -> DataLoader[Batch]:
        order = _order(self.num_samples, self._seed, number) if self._shuffle else torch.arange(self.num_samples)
        return DataLoader(
            self._data,
            batch_sampler=[order[start : start + self._batch_size].tolist() for start in self._starts],
            collate_fn=BatchCollate(self._task.collate),
            num_workers=self._task.num_workers,
            generator=torch.Generator().manual_seed(derive_seed(self._seed, "loader", number)),
        )


@dataclass(frozen=True, slots=True)
class BatchCollate:
    """Samples -> Batch, with the task's collate function or PyTorch's. Picklable for the workers of a DataLoader."""

    collate: Callable[[list[Any]], Any] | None

    def __call__(self, samples: list[Any]) -> Batch:
        """Raises TaskError if samples cannot be collated, or the task's function returns no batch."""
        if self.collate is None:
            return Batch(_stacked(samples), len(samples))
        return Batch(checked_content(self.collate(samples), returned_by="Task.collate"), len(samples))


def _stacked(samples: list[Any]) -> Any:
    try:
        return stack_samples(samples)
    except ValueError as error:
        raise TaskError(
            f"{len(samples)} samples cannot be collated into a batch: {error}",
            hint="Give the Task a collate function: list of samples -> batch.",
        ) from error


def make_batches(
    task: Task, data: Any, *, batch_size: int, device: Device, seed: int, shuffle: bool, resident: bool = True
) -> Batches:
    """Batches of one split of the task's data, by indexing if possible. `shuffle` marks the training split; `resident` keeps
    small tensors on the device, for data that are used more than once."""
    size_bytes = device.limit_bytes if device.memory is None else device.memory.size_bytes
    with device.untracked():
        if size_bytes is not None:
            resident = resident and tensor_bytes(task) <= MAX_RESIDENT_FRACTION * size_bytes
        tensors = as_tensors(data, task)
        to_load = samples_to_load(data, task) if tensors is None else None
    if tensors is None:
        return LoadedBatches(task, to_load, batch_size=batch_size, device=device, seed=seed, shuffle=shuffle)
    return TensorBatches(tensors, batch_size=batch_size, device=device, seed=seed, shuffle=shuffle, resident=resident)


def count_batches(samples: int, batch_size: int, *, training: bool) -> int:
    """Number of batches of an epoch, a smaller last one included. In training, a last batch of a single sample is dropped,
    because batch normalization needs more."""
    whole, rest = divmod(samples, batch_size)
    leaves_out = rest == 0 or (training and rest == 1 and whole > 0)
    return whole if leaves_out else whole + 1


def _order(samples: int, seed: int, epoch: int) -> Tensor:
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(samples, generator=generator)


_copies: WeakMemo[Tensor] = WeakMemo()
"""Copies on devices, which all trials of a process share."""


def _resident(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor if tensor.device == device else _copies.get([tensor], device, make=lambda: tensor.to(device))


def _is_resident(tensor: Tensor, device: torch.device) -> bool:
    return tensor.device == device or _copies.find([tensor], device) is not None
