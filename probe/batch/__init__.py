"""How large a batch. `probe.batch.fits(task, n)` answers one size, `try_batch_size` says why, `compare_batch_sizes` compares
image sizes and precisions; names are resolved on first use, so that importing the package imports no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probe.batch.comparison.compare import compare_batch_sizes
    from probe.batch.find import fits, try_batch_size

__all__ = ["compare_batch_sizes", "fits", "try_batch_size"]

_HOMES = {
    "compare_batch_sizes": "probe.batch.comparison.compare",
    "fits": "probe.batch.find",
    "try_batch_size": "probe.batch.find",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'probe.batch' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
