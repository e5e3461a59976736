"""Several GPUs of one machine, by the names under which a child process can be shown one of them alone."""

from __future__ import annotations

import os
from itertools import takewhile

from probe.device.select import DeviceSpec

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
"""Which GPUs CUDA shows to a process, comma-separated: indices, or UUIDs of GPUs (GPU-...) or of their slices (MIG-...).
https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#env-vars"""
_MIG = "MIG-"


def visible_gpus(asked: DeviceSpec, found: DeviceSpec) -> tuple[str, ...]:
    """For each GPU that work may be spread over, what shows it alone to a child; empty where there are not several.

    `found` is what `resolve_device` made of `asked`. Whoever asked for `cuda:N` gets that one. PyTorch was imported to find
    the device, and counts without making a context. AMD's GPUs are left alone: they listen to other variables as well.
    """
    if found.kind != "cuda" or asked.resolved or asked.index is not None:
        return ()
    import torch

    if torch.version.hip is not None:
        return ()
    gpus = gpu_names(os.environ.get(VISIBLE_DEVICES), torch.cuda.device_count())
    return gpus if len(gpus) > 1 else ()


def gpu_names(visible: str | None, num_gpus: int) -> tuple[str, ...]:
    """Each GPU's entry in CUDA_VISIBLE_DEVICES, in PyTorch's order. Pure.

    Args:
        visible: the variable as it is; None: not set.
        num_gpus: how many PyTorch sees. CUDA ignores what follows a wrong entry, so that the first so many are meant.

    One process sees one slice of a GPU only, however many are listed; of slices the whole list counts.
    """
    if visible is None:
        return tuple(str(index) for index in range(num_gpus))
    entries = [entry.strip() for entry in visible.split(",")]
    if num_gpus and entries[0].startswith(_MIG):
        return tuple(takewhile(lambda entry: entry.startswith(_MIG), entries))
    return tuple(entries[:num_gpus])
