"""probe: how large a batch, which learning rate, which hyperparameters.

Names are imported on first use (PEP 562), so that importing probe is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from probe.version import VERSION

if TYPE_CHECKING:
    from probe.batch.find import find_batch_size
    from probe.errors import Infeasible
    from probe.lr.find import find_lr
    from probe.search.find import find_hyperparameters
    from probe.single.train import train
    from probe.task import Task

__version__ = VERSION

__all__ = ["Infeasible", "Task", "__version__", "find_batch_size", "find_hyperparameters", "find_lr", "train"]

_MODULES = {
    "Infeasible": "probe.errors",
    "Task": "probe.task",
    "find_batch_size": "probe.batch.find",
    "find_lr": "probe.lr.find",
    "find_hyperparameters": "probe.search.find",
    "train": "probe.single.train",
}

_PACKAGES = ("batch",)
"""Subpackages with public names, like `probe.batch.fits`."""


def __getattr__(name: str) -> object:
    if name in _PACKAGES:
        return importlib.import_module(f"probe.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'probe' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
