"""Which trials may share one GPU's memory. Pure."""

from __future__ import annotations

from collections.abc import Sequence

MARGIN = 1.2
"""On every predicted peak: predictions leave out scratch memory inside operators, and fragmentation."""


def has_room(peak_bytes: int | None, *, beside: Sequence[int | None], idle_bytes: int = 0, limit_bytes: int) -> bool:
    """Whether a trial may start beside running ones with those peaks; None: there is no prediction.

    One alone always may: whether it fits is then for the device to say. What has no prediction runs alone. `idle_bytes` are
    held by workers that wait.
    """
    if not beside:
        return True
    known = [peak for peak in (peak_bytes, *beside) if peak is not None]
    return len(known) == 1 + len(beside) and MARGIN * sum(known) + idle_bytes <= limit_bytes
