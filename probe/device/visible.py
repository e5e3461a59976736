"""Assigns one of several CUDA GPUs to each child process, by the environment variable CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

import os
from itertools import takewhile

from probe.device.select import DeviceSpec

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
"""Variable with the GPUs that CUDA shows to a process, separated by commas: indices, or UUIDs of GPUs (GPU-...) or of MIG
slices (MIG-...). https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#env-vars"""
_MIG = "MIG-"


def visible_gpus(requested: DeviceSpec, resolved: DeviceSpec) -> tuple[str, ...]:
    """Values of CUDA_VISIBLE_DEVICES, one per GPU, each of which shows only that GPU to a child process.

    Args:
        requested: the device as the user wrote it.
        resolved: the same device after `resolve_device`, which has imported PyTorch.

    Returns:
        One value per GPU. Empty if there is only one GPU, if the user chose one (`cuda:N`), or for AMD's GPUs, which other
        variables affect as well. GPUs are counted without creating a context.
    """
    if resolved.kind != "cuda" or requested.resolved or requested.index is not None:
        return ()
    import torch

    if torch.version.hip is not None:
        return ()
    gpus = gpu_names(os.environ.get(VISIBLE_DEVICES), torch.cuda.device_count())
    return gpus if len(gpus) > 1 else ()


def gpu_names(visible: str | None, num_gpus: int) -> tuple[str, ...]:
    """Entries of CUDA_VISIBLE_DEVICES, one per GPU, in PyTorch's order.

    A process sees only one MIG slice, even if several are listed. Slices are therefore taken from the list, not counted by
    PyTorch.

    Args:
        visible: value of the variable, or None if it is not set.
        num_gpus: number of GPUs that PyTorch sees. CUDA ignores all entries after an invalid one, so these are the first
            `num_gpus` entries.
    """
    if visible is None:
        return tuple(str(index) for index in range(num_gpus))
    entries = [entry.strip() for entry in visible.split(",")]
    if num_gpus and entries[0].startswith(_MIG):
        return tuple(takewhile(lambda entry: entry.startswith(_MIG), entries))
    return tuple(entries[:num_gpus])
