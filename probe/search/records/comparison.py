"""What `probe compare` finds: several searches side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from probe.records import SCHEMA_VERSION, RunMeta
from probe.search.records.search import Score, StoppedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class Incumbent:
    """The best configuration so far: its value from `epochs` spent on."""

    epochs: float
    """Of the budget, the probes' included."""
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """One search."""

    folder: str
    """As it was given."""
    group: str
    """Title of the group that it belongs to."""
    seed: int
    task: str
    sampler: str
    scheduler: str
    stopped_by: StoppedBy
    num_trials: int
    epochs: float
    """Spent in all, without the final fit."""
    probe_epochs: float
    seconds: float
    value: float | None
    """The best trial's; None where no trial came to a value."""
    test: Score | None
    curve: tuple[Incumbent, ...]
    """In the order of the epochs, each better than the one before."""
    is_exact: bool
    """The curve follows the events of search.sqlite. Where there is none, trials are laid end to end in the order of their
    numbers, which moves what a trial gained after a promotion."""
    epochs_to_target: float | None
    """Epochs spent until the comparison's target was reached; None where it never was."""

    def __post_init__(self) -> None:
        if (self.value is None) != (not self.curve):
            raise ValueError(f"{self.folder}: a curve belongs to every run with a value, and to no other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Of one number over the runs of a group."""

    mean: float
    deviation: float | None
    """Standard deviation between the runs (of a sample: n - 1); None for a single one."""
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedGroup:
    """Runs of one recipe that differ in nothing but the seed."""

    title: str
    sampler: str
    scheduler: str
    num_runs: int
    num_trials: Spread
    epochs: Spread
    value: Spread | None
    """Over the runs that have one; None where none has."""
    test: Spread | None
    epochs_to_target: Spread | None
    """None where one of the runs never reached it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchComparison:
    """The answer of `probe compare`."""

    schema: int = SCHEMA_VERSION
    kind: Literal["search_comparison"] = "search_comparison"
    meta: RunMeta
    """The environment of the first run, with the command line and the time of the comparison."""
    stopped_by: Literal["finished"] = "finished"
    metric: str
    mode: Literal["max", "min"]
    target: float | None
    """The final best of the run that ended weakest; None without any value."""
    runs: tuple[ComparedRun, ...]
    groups: tuple[ComparedGroup, ...]
    """In the order in which their first runs were given."""
    warnings: tuple[str, ...] = ()
