"""Processes that read samples in front of a GPU: how many there are by default, and the random numbers that they draw."""

from __future__ import annotations

import multiprocessing
import pickle
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from probe.loading.batch import Batch
from probe.loading.dataset import is_unbounded, origins_of, tensors_behind
from probe.loading.random_state import random_state_kept
from probe.loading.trees import tensors_of

MAX_DEFAULT_WORKERS = 4
BATCHES_PER_WORKER = 2
"""Batches that each worker loads ahead."""
MIN_READING_SECONDS = 1.0
"""Workers are not started for an epoch that is read in less time."""
NUM_TRIED_SAMPLES = 8
SHARED_MEMORY = Path("/dev/shm")
"""Batches of workers arrive through it. Containers often have only 64 MiB."""


def default_workers(data: Any, collate: Callable[[list[Any]], Batch], batch_size: int) -> int:
    """The number of workers for map-style data in front of a GPU: as many as this process has threads, at most
    MAX_DEFAULT_WORKERS and what shared memory holds. There are none for data in memory or that are read quickly, for samples
    on a GPU, and for data that cannot be pickled, since they may hold open files, which processes must not share."""
    is_in_memory = not is_unbounded(data) and all(
        isinstance(base, list) or tensors_behind(base) is not None for base in origins_of(data).bases
    )
    if is_in_memory or multiprocessing.get_start_method() != "fork" or not SHARED_MEMORY.is_dir():
        return 0
    count = min(NUM_TRIED_SAMPLES, batch_size, len(data))
    started = time.perf_counter()
    try:
        with random_state_kept(torch.device("cpu")):
            batch = collate([data[index] for index in range(count)])
    except Exception:  # it is raised again where the batch is loaded, in this process
        return 0
    seconds = (time.perf_counter() - started) * len(data) / count
    on_host = all(tensor.device.type == "cpu" for tensor in tensors_of(batch.content))
    if seconds < MIN_READING_SECONDS or not on_host or not _can_be_pickled(data):
        return 0
    ahead_bytes = 2 * BATCHES_PER_WORKER * batch.num_bytes * batch_size // count  # twice, since samples may be larger
    num_that_fit = shutil.disk_usage(SHARED_MEMORY).free // max(1, ahead_bytes)
    return min(MAX_DEFAULT_WORKERS, torch.get_num_threads(), num_that_fit)


@dataclass(frozen=True, slots=True)
class SeededSamples:
    """Map-style data whose samples are read in batches `(seed, indices)`. With a seed, they draw the same random numbers
    whatever process reads them, and leave the generators of this process as they are."""

    data: Any

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, batch: tuple[int | None, list[int]]) -> list[Any]:
        seed, indices = batch
        if seed is None:
            return self._read(indices)
        if get_worker_info() is not None:
            _seed_host(seed)
            return self._read(indices)
        with random_state_kept(torch.device("cpu")):
            _seed_host(seed)
            return self._read(indices)

    def _read(self, indices: list[int]) -> list[Any]:
        read_many: Callable[[list[int]], list[Any]] | None = getattr(self.data, "__getitems__", None)
        return [self.data[index] for index in indices] if read_many is None else read_many(indices)


def _seed_host(seed: int) -> None:
    """Seed the generators that samples draw from, and none of a GPU."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - used by user code
    torch.default_generator.manual_seed(seed)


class _Nowhere:
    def write(self, content: Any) -> int:
        return len(content)


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> str | None:
        return "array" if isinstance(obj, (Tensor, np.ndarray)) else None  # they can be pickled, which would take long


def _can_be_pickled(data: Any) -> bool:
    try:
        _Pickler(_Nowhere()).dump(data)
    except Exception:  # whatever the methods of its objects raise
        return False
    return True
