"""The state of one trial of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from probe.search.jobs.jobs import RungReport
from probe.search.records.measurements import NOTHING_MEASURED, Measurements
from probe.search.records.search import ParamValue, Refinement, Status
from probe.training.records import EpochReport


@dataclass(slots=True, kw_only=True)
class Trial:
    """The state of one trial."""

    number: int
    positions: Mapping[str, ParamValue]
    params: Mapping[str, ParamValue]
    seed: int
    reports: list[EpochReport] = field(default_factory=list)
    before: list[EpochReport] = field(default_factory=list)
    """Reports of the rung below, if the running rung trains from scratch. They count until that rung is completed."""
    scores: list[float | None] = field(default_factory=list)
    """Score at the end of each completed rung; None if the objective had no value."""
    rung: int = -1
    target_rung: int | None = None
    """Rung that the running job trains to; None if no job runs."""
    promised: int = 0
    """Cost that the running job may still cause, in thousandths of an epoch."""
    retry: bool = False
    """Whether the rung is to be repeated, after a crash, a first failure or running out of memory."""
    num_crashes: int = 0
    failed_rung: int | None = None
    """Rung in which the task's code failed. It is repeated once in a fresh process."""
    killed_rung: int | None = None
    """Last rung in which signal 9 killed the worker. Each rung is repeated once in a fresh process."""
    crowded_rung: int | None = None
    """Last rung in which memory ran out while other workers used the GPU as well. Each rung is repeated once without them, in a
    fresh process."""
    gradient_accumulation: int | None = None
    """Micro-batches per batch, after whole batches ran out of memory."""
    status: Status | None = None
    spent: int = 0
    """Cost in thousandths of an epoch, lost epochs included."""
    lost: int = 0
    """Part of `spent` that left no report."""
    spent_at_start: int = 0
    """`spent` at the start of the last job."""
    lost_at_start: int = 0
    measured: Measurements = NOTHING_MEASURED
    message: str | None = None
    refinement: Refinement | None = None

    @property
    def needs_whole_gpu(self) -> bool:
        """Whether no other trial may run on its GPU: beside others, it once ran out of memory."""
        return self.crowded_rung is not None

    def was_crowded_out(self, report: RungReport) -> bool:
        """Whether the running rung is repeated on a whole GPU, after a job that ran out of memory."""
        return report.is_crowded and self.crowded_rung != self.target_rung

    @property
    def counted(self) -> list[EpochReport]:
        """The reports that give the trial its value."""
        return self.before or self.reports
