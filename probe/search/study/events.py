"""The five ways in which a search changes. Plain records: a file of them is a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from probe.records import MemoryReading
from probe.search.jobs.jobs import Outcome
from probe.search.records.search import ParamValue, Refinement, StoppedBy
from probe.training.records import EpochReport, TrainingSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSuggested:
    """The sampler decided on a configuration. `positions` are its own coordinates, exact to the bit."""

    number: int
    positions: Mapping[str, ParamValue]
    params: Mapping[str, ParamValue]
    seed: int
    refinement: Refinement | None = None
    """Where a gradient decided, not the sampler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStarted:
    """A trial goes to the end of `rung`, for the first time or once more."""

    number: int
    rung: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReported:
    number: int
    report: EpochReport


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEnded:
    """The rung that a trial was on is over."""

    number: int
    outcome: Outcome
    seconds: float
    memory: MemoryReading | None = None
    message: str | None = None
    gradient_accumulation: int | None = None
    """With outcome `oom`: the parts that its batch is split into when it is run again; None: it is not."""
    num_passes: int | None = None
    """Passes over the training data that its worker began; None where nobody knows."""
    fit: TrainingSummary | None = None
    """The model at the end of the rung; None where that was not reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResumed:
    """The search goes on after it was killed or stopped: rungs that were not over go back to their start and run first.

    Their epochs are lost, but not spent: what is decided next is what would have been decided without the stop.
    """

    after: StoppedBy | None = None
    """How it had ended; None: it was killed."""


Event = TrialSuggested | TrialStarted | EpochReported | TrialEnded | SearchResumed
