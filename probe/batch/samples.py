"""The data that a trace needs: batches whose shapes are fact, and what the data set itself takes of a GPU."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch.utils.data import Subset, TensorDataset

from probe.task import Task
from probe.training.batch import Batch
from probe.training.data import is_unbounded, largest_batch, num_samples, tensor_bytes


def sample_batches(task: Task, sizes: Iterable[int]) -> dict[int, Batch]:
    """Batches of these sizes as attempts train on, on the CPU; a data set with fewer samples repeats them.

    Raises DataError for data that cannot be read.
    """
    wanted = sorted(sizes)
    available = num_samples(task.train)
    if not is_unbounded(task.train) and available < wanted[-1]:
        base = TensorDataset(*task.train) if isinstance(task.train, tuple) else task.train
        task = replace(task, train=Subset(base, [index % available for index in range(wanted[-1])]))
    return {size: largest_batch(task, size) for size in wanted}


def dataset_bytes(task: Task) -> int:
    """Of the data's tensors, which training keeps on the device where they are small; 0 where it is loaded."""
    return tensor_bytes(task)
