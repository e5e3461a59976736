"""Which slot runs on which GPU, and which trials may share one GPU's memory. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

MAX_DEFAULT_SLOTS = 4
"""Workers of one machine's CPU, where nobody says how many."""
MARGIN = 1.2
"""On every predicted peak: predictions leave out scratch memory inside operators, and fragmentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuLoad:
    """One GPU as it is when a trial asks for a place."""

    limit_bytes: int
    beside: tuple[int | None, ...] = ()
    """The predicted peaks of the trials that run on it; None: there is no prediction."""
    idle_bytes: int = 0
    """Held by workers that wait."""
    has_slot: bool = True

    @property
    def free_bytes(self) -> float:
        return self.limit_bytes - self.idle_bytes - MARGIN * sum(peak or 0 for peak in self.beside)


def spread_slots(num_slots: int, num_gpus: int) -> tuple[int, ...]:
    """The GPU of each slot: one after the other, so that none has two slots more than another."""
    return tuple(slot % num_gpus for slot in range(num_slots))


def can_start(peak_bytes: int | None, *, beside: Sequence[int | None], idle_bytes: int = 0, limit_bytes: int) -> bool:
    """Whether a trial may start beside running ones with those peaks; None: there is no prediction.

    One alone always may: whether it fits is then for the device to say. What has no prediction runs alone. `idle_bytes` are
    held by workers that wait.
    """
    if not beside:
        return True
    known = [peak for peak in (peak_bytes, *beside) if peak is not None]
    return len(known) == 1 + len(beside) and MARGIN * sum(known) + idle_bytes <= limit_bytes


def choose_gpu(peak_bytes: int | None, gpus: Sequence[GpuLoad]) -> int | None:
    """The GPU that a trial should start on; None: it has to wait.

    Of those where it is predicted to fit, one on which nothing runs, as trials on one GPU slow each other down; then the one
    with the most free memory; then the first. Where it fits nowhere, a GPU on which nothing runs takes it all the same.
    """
    open_gpus = [
        index
        for index, gpu in enumerate(gpus)
        if gpu.has_slot
        and can_start(peak_bytes, beside=gpu.beside, idle_bytes=gpu.idle_bytes, limit_bytes=gpu.limit_bytes)
    ]

    def preference(index: int) -> tuple[bool, bool, float]:
        gpu = gpus[index]
        return (MARGIN * (peak_bytes or 0) <= gpu.free_bytes, not gpu.beside, gpu.free_bytes)

    return max(open_gpus, key=preference, default=None)


def device_title(names: Sequence[str]) -> str:
    """Several GPUs in one line: `2 × NVIDIA A100`. Each of `names` is what a process that sees one GPU alone calls it."""
    if len(names) == 1:
        return names[0]
    counts = Counter(name.replace(" (cuda:0)", "") for name in names)
    return ", ".join(name if count == 1 else f"{count} × {name}" for name, count in counts.items())
