"""A task whose `label_smoothing` is none."""

from __future__ import annotations

from dataclasses import replace

import searched_task
from torch.nn import functional

import probe


def unsmoothed(fault: str = "none", dropout: float = 0.0, label_smoothing: float = 0.0) -> probe.Task:
    task = searched_task.blobs(fault=fault, dropout=dropout)
    return replace(task, loss=lambda outputs, targets: functional.cross_entropy(outputs, targets) + label_smoothing)
