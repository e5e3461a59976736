"""What a job of a trial measures, and how the measurements of a trial's jobs are combined.

To add a measurement of a trial: declare its field here, say in `then` how it is combined, and measure it in
`jobs/trial.py`. Job reports, stored events, trial states and trial results carry it from there without a change. (A
measurement of one epoch is a field of `EpochReport`, which all of these carry as well.)
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from probe.records import MemoryReading, larger_peak
from probe.training.records import TrainingSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """Measurements of one job, or of all jobs of a trial together."""

    seconds: float
    """Wall-clock time of the job; of a trial, the sum over its jobs."""
    memory: MemoryReading | None = None
    """Memory of the device; of a trial, the reading with the largest peak. None if the device does not count memory."""
    summary: TrainingSummary | None = None
    """Losses, metrics and weights of the model at the end of the last completed rung; None if there is none."""

    def then(self, later: Measurements) -> Measurements:
        """Combine the measurements of a trial's jobs so far with those of its next job."""
        return Measurements(
            seconds=self.seconds + later.seconds,
            memory=larger_peak(self.memory, later.memory),
            summary=later.summary or self.summary,
        )

    def measured(self) -> dict[str, Any]:
        """The measurements alone, as keyword arguments for a record that extends this one."""
        return {field.name: getattr(self, field.name) for field in fields(Measurements)}


NOTHING_MEASURED = Measurements(seconds=0.0)
