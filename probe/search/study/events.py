"""The five kinds of event that change a search. Plain records: a search is stored as the list of its events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from probe.search.jobs.jobs import RungReport
from probe.search.records.search import ParamValue, Refinement, SearchStoppedBy
from probe.training.records import EpochReport


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSuggested:
    """A configuration was chosen for a new trial."""

    number: int
    positions: Mapping[str, ParamValue]
    """The sampler's coordinates of the configuration, stored exactly."""
    params: Mapping[str, ParamValue]
    seed: int
    refinement: Refinement | None = None
    """The gradient step that proposed it; None if the sampler did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStarted:
    """A trial started training to the end of `rung`, for the first time or again."""

    number: int
    rung: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReported:
    """A running trial completed an epoch."""

    number: int
    report: EpochReport


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEnded:
    """The job of a running trial ended."""

    number: int
    report: RungReport
    gradient_accumulation: int | None = None
    """After outcome `oom`: micro-batches per batch with which the rung is repeated; None if it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResumed:
    """The search was resumed: unfinished rungs return to their start and run first. Their epochs are lost, but not
    spent, so that later decisions are the ones of a search that was never stopped."""

    after: SearchStoppedBy | None = None
    """How the search had ended; None if it was killed."""


Event = TrialSuggested | TrialStarted | EpochReported | TrialEnded | SearchResumed
