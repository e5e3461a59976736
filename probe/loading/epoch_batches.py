"""Batches of an epoch: indexed from tensors on the device, or loaded. Their order depends on the seed and the epoch only, so
that a position in the data is given by an epoch and a batch number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from operator import itemgetter, methodcaller
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from probe.device.protocol import Device
from probe.errors import TaskError
from probe.loading.batch import Batch, checked_content, stack_samples
from probe.loading.caches import WeakMemo
from probe.loading.copies_ahead import copied_ahead
from probe.loading.dataset import TensorData, as_tensors, samples_to_load, tensor_bytes
from probe.loading.loader_workers import BATCHES_PER_WORKER, SeededSamples, default_workers
from probe.loading.trees import map_tensors, tensors_of
from probe.seeds import derive_seed
from probe.task import Task

MAX_RESIDENT_FRACTION = 0.25
"""Largest fraction of a GPU's memory for the training and validation data. Larger data stay on the host, and each batch is
copied. It is a fraction of the whole memory: if it depended on what other processes use, a training could need more memory
than the attempt that measured its batch size."""


class Batches(ABC):
    """One split of the data, as batches on the device."""

    copies_ahead = False
    """Whether the next batch is copied to the device while one is in use, so that two are there."""

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

    def endless(self) -> Iterator[Batch]:
        """The batches of epoch after epoch."""
        return chain.from_iterable(map(self.epoch, count()))


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
        # index_select takes less time on the CPU, and an index less of the host's time in front of a GPU.
        self._rows: Callable[[Tensor], Callable[[Tensor], Tensor]] = (
            partial(methodcaller, "index_select", 0) if self._home.type == "cpu" else itemgetter
        )

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
        batch = Batch(map_tensors(self._rows(rows), self._tensors), len(rows))
        return batch if self._home == self._target else batch.to(self._target)


class LoadedBatches(Batches):
    """Batches from a DataLoader. Reading and collating samples does not count as device memory."""

    def __init__(self, task: Task, data: Any, *, batch_size: int, device: Device, seed: int, shuffle: bool) -> None:
        super().__init__(len(data), batch_size=batch_size, device=device, seed=seed, shuffle=shuffle)
        self._collate = BatchCollate(task.collate)
        self._num_workers = task.num_workers
        self._data = data
        seeds_batches = device.is_gpu if task.num_workers is None else task.num_workers > 0
        self._order = _EpochOrder(len(data), self._starts, seed, shuffle, seeds_batches)
        self._loader: DataLoader[Batch] | None = None
        self.copies_ahead = device.is_gpu

    def epoch(self, number: int) -> Iterator[Batch]:
        loaded = self._loaded(number)
        return copied_ahead(loaded, self._device.torch_device) if self.copies_ahead else self._copied(loaded)

    def _loaded(self, number: int) -> Iterator[Batch]:
        """The batches of epoch `number` on the host."""
        with self._device.untracked():
            self._order.epoch = number
            if self._loader is None:
                self._loader = self._make_loader()
            loaded = iter(self._loader)
        for _ in self._starts:
            with self._device.untracked():
                on_host = next(loaded)
            yield on_host
            del on_host

    def _copied(self, loaded: Iterator[Batch]) -> Iterator[Batch]:
        counts = self._device.limit_bytes is not None  # of the devices on the host, only a simulated one has a limit
        for on_host in loaded:
            yield on_host.to(self._device.torch_device, copy=counts)

    def _make_loader(self) -> DataLoader[Batch]:
        if self._num_workers is None:
            found = default_workers(self._data, self._collate, self._batch_size) if self._device.is_gpu else 0
        else:
            found = self._num_workers
        return DataLoader(
            SeededSamples(self._data),  # type: ignore[arg-type]  # it is read by __getitems__
            batch_sampler=self._order,
            collate_fn=self._collate,
            num_workers=found,
            persistent_workers=found > 0,
            prefetch_factor=BATCHES_PER_WORKER if found > 0 else None,
            pin_memory=self._device.is_gpu,
            generator=torch.Generator().manual_seed(derive_seed(self._seed, "loader")),
        )


@dataclass
class _EpochOrder(Sampler[Any]):
    """The seed and the samples of each batch of the epoch that is read next. The workers of a DataLoader stay, so it does."""

    num_samples: int
    starts: range
    seed: int
    shuffle: bool
    seeds_batches: bool
    epoch: int = 0

    def __iter__(self) -> Iterator[tuple[int | None, list[int]]]:
        order = _order(self.num_samples, self.seed, self.epoch) if self.shuffle else torch.arange(self.num_samples)
        for number, start in enumerate(self.starts):
            seed = derive_seed(self.seed, "samples", self.epoch, number) if self.seeds_batches else None
            yield seed, order[start : start + self.starts.step].tolist()

    def __len__(self) -> int:
        return len(self.starts)


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
        elif device.is_gpu:  # of unknown size
            resident = False
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
