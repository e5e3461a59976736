"""Spreads slots over GPUs and decides which trials may share the memory of a GPU."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from probe.device.environment import num_cores
from probe.device.select import DeviceSpec

MAX_DEFAULT_SLOTS = 4
"""Default number of workers on a CPU, at most."""
MARGIN = 1.2
"""Factor on every predicted peak, as predictions leave out scratch memory inside operators and fragmentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuLoad:
    """The load of one GPU."""

    limit_bytes: int
    running_peaks: tuple[int | None, ...] = ()
    """Predicted peak memory in bytes of each trial that runs on the GPU; None if it could not be predicted."""
    idle_bytes: int = 0
    """Memory of the idle workers on the GPU, which is free after they are closed."""
    has_free_slot: bool = True

    @property
    def free_bytes(self) -> float:
        """Free memory without closing a worker."""
        return self.limit_bytes - self.idle_bytes - MARGIN * sum(peak or 0 for peak in self.running_peaks)


@dataclass(frozen=True, slots=True)
class GpuChoice:
    """Where a trial starts."""

    gpu: int
    """Index of the GPU."""
    needs_room: bool = False
    """Whether the other idle workers on the GPU have to be closed first."""


def spread_slots(num_slots: int, num_gpus: int) -> tuple[int, ...]:
    """The GPU of each slot, in turn, so that the numbers of slots per GPU differ by at most one."""
    return tuple(slot % num_gpus for slot in range(num_slots))


def default_slots(device: DeviceSpec, num_gpus: int = 1) -> int:
    """Default number of workers: one per GPU, since workers share its memory; on the CPU one per core, at most four."""
    return num_gpus if device.is_gpu else max(1, min(num_cores(), MAX_DEFAULT_SLOTS))


def threads_per_slot(num_slots: int) -> int:
    """Number of PyTorch threads of each worker: the cores of this machine, divided by the number of workers."""
    return max(1, num_cores() // num_slots)


def can_start(peak_bytes: int | None, *, running_peaks: Sequence[int | None], limit_bytes: int) -> bool:
    """Whether a trial may start on a GPU beside the trials that run there. It may always start on a GPU without trials:
    the device will find out whether it fits. A trial whose peak could not be predicted (None) runs alone."""
    if not running_peaks:
        return True
    known = [peak for peak in (peak_bytes, *running_peaks) if peak is not None]
    return len(known) == 1 + len(running_peaks) and MARGIN * sum(known) <= limit_bytes


def choose_gpu(peak_bytes: int | None, gpus: Sequence[GpuLoad]) -> GpuChoice | None:
    """The GPU that a trial should start on; None if it has to wait.

    GPUs on which the trial is predicted to fit come first; among them those without trials, as trials on one GPU slow each
    other down; then those on which no idle worker has to be closed, which would take seconds to start again; then those with
    the most free memory. If the trial fits nowhere, it still starts on a GPU without trials.
    """
    needed = MARGIN * (peak_bytes or 0)

    def needs_room(gpu: GpuLoad) -> bool:
        return gpu.idle_bytes > 0 and (peak_bytes is None or needed > gpu.free_bytes)

    def preference(index: int) -> tuple[bool, bool, bool, float]:
        gpu = gpus[index]
        fits = needed <= gpu.free_bytes + gpu.idle_bytes
        return fits, not gpu.running_peaks, not needs_room(gpu), gpu.free_bytes

    possible = [
        index
        for index, gpu in enumerate(gpus)
        if gpu.has_free_slot and can_start(peak_bytes, running_peaks=gpu.running_peaks, limit_bytes=gpu.limit_bytes)
    ]
    chosen = max(possible, key=preference, default=None)
    return None if chosen is None else GpuChoice(chosen, needs_room(gpus[chosen]))


def device_title(names: Sequence[str]) -> str:
    """The names of several GPUs in one line: `2 × NVIDIA A100`. Each name comes from a process that sees only that GPU."""
    if len(names) == 1:
        return names[0]
    counts = Counter(re.sub(r" \(\w+:0\)", "", name) for name in names)
    return ", ".join(name if count == 1 else f"{count} × {name}" for name, count in counts.items())
