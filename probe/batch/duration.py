"""How long an attempt trains, by its purpose. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from probe.batch.decide import SIZE_STEPS
from probe.batch.records import Purpose


@dataclass(frozen=True, slots=True)
class Duration:
    num_warmup_steps: int
    """At least SIZE_STEPS."""
    min_steps: int
    max_steps: int
    seconds: float
    num_batches: int = 0
    """Shuffled batches of the data set, or an epoch of fewer; 0: none."""
    batch_seconds: float = 0.0
    """Until then they go on to the end of the epoch, or to `max_batches`."""
    max_batches: int = 1000


QUICK = Duration(num_warmup_steps=SIZE_STEPS, min_steps=3, max_steps=30, seconds=0.5)
UNTIMED = Duration(num_warmup_steps=SIZE_STEPS, min_steps=0, max_steps=0, seconds=0.0)


def duration_of(purpose: Purpose, confirm_steps: int, confirm_seconds: float, *, timed: bool = True) -> Duration:
    """Of an attempt with this purpose; only a confirming one trains on shuffled batches."""
    if not timed:
        return UNTIMED
    if purpose != "confirm":
        return QUICK
    return replace(QUICK, num_batches=confirm_steps, batch_seconds=confirm_seconds)
