"""Batches of chosen samples, and what the data set itself takes of a GPU."""

from __future__ import annotations

from typing import Any

import torch

from probe.batch.samples.ranking import Indices
from probe.loading.batch import Batch
from probe.loading.dataset import as_tensors, samples_to_load, tensor_bytes
from probe.loading.epoch_batches import BatchCollate
from probe.loading.trees import map_tensors
from probe.task import Task


def load_batch(task: Task, data: Any, indices: Indices) -> Batch:
    """The samples of `data` with these indices as one batch on the CPU."""
    tensors = as_tensors(data, task)
    if tensors is None:
        samples = samples_to_load(data, task)
        return BatchCollate(task.collate)([samples[int(index)] for index in indices])
    rows = torch.from_numpy(tensors.indices[indices])
    return Batch(map_tensors(lambda tensor: tensor.index_select(0, rows), tensors.tensors), len(rows))


def dataset_bytes(task: Task) -> int:
    """Of the data's tensors, which training keeps on the device where they are small; 0 where it is loaded."""
    return tensor_bytes(task)
