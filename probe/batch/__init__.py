"""Find the largest batch that fits into memory, and the smallest one that is fast enough.

`find.py` has the public functions and `comparison/` those that compare variants. `sweep.py` runs a sweep: `decide.py` and
`errors_by_size.py` choose the next size (pure), `runner.py` starts the attempt in a child process, `context.py` holds the
built task there, and `attempt.py` and `measure.py` train and interpret exceptions; `progress.py` (pure) judges whether memory
is steady. `alternatives.py` predicts changes that
help if nothing fits. `task_samples.py` and `sample_ranking.py` (pure) find the largest samples, and `prediction/` predicts
memory without a GPU. Results are in `records.py` and `prediction_records.py`.

Public names are imported on first use, so that importing the package does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probe.batch.comparison.axes import compare_batch_sizes
    from probe.batch.comparison.variants import compare_variants
    from probe.batch.find import fits, try_batch_size

__all__ = ["compare_batch_sizes", "compare_variants", "fits", "try_batch_size"]

_MODULES = {
    "compare_batch_sizes": "probe.batch.comparison.axes",
    "compare_variants": "probe.batch.comparison.variants",
    "fits": "probe.batch.find",
    "try_batch_size": "probe.batch.find",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'probe.batch' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES[name]), name)
