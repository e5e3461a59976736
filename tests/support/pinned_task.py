"""A task whose error names the GPUs that its process sees."""

from __future__ import annotations

import os

import probe
from probe.errors import DeviceError


def failing_task() -> probe.Task:
    raise LookupError("it sees " + os.environ["CUDA_VISIBLE_DEVICES"])


def open_gpu(broken: str) -> str:
    seen = os.environ["CUDA_VISIBLE_DEVICES"]
    if seen == broken:
        raise DeviceError("cuda:0 is there but cannot be used.", hint="nvidia-smi")
    return seen
