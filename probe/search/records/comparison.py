"""The result of `probe compare`: several searches side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from probe.records import SCHEMA_VERSION, RunMeta
from probe.search.records.search import Score, SearchStoppedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class Incumbent:
    """The best value found after a number of epochs."""

    epochs: float
    """Epochs of the budget spent when the value was reached, probes included."""
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """One search of a comparison."""

    folder: str
    """Folder of the run, as the user gave it."""
    group: str
    """Title of the run's group."""
    seed: int
    task: str
    sampler: str
    scheduler: str
    stopped_by: SearchStoppedBy
    num_trials: int
    epochs: float
    """Epochs spent in total, without the final training."""
    probe_epochs: float
    seconds: float
    value: float | None
    """Value of the best trial; None if no trial has a value."""
    test: Score | None
    curve: tuple[Incumbent, ...]
    """Improvements in the order of the epochs spent."""
    is_exact: bool
    """True if the curve follows the events of search.sqlite. Without that file, trials are assumed to have run one
    after the other in the order of their numbers, which shifts improvements after a promotion."""
    epochs_to_target: float | None
    """Epochs spent until the comparison's target was reached; None if it was not reached."""

    def __post_init__(self) -> None:
        if (self.value is None) != (not self.curve):
            raise ValueError(f"{self.folder}: a run has a curve if and only if it has a value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean, standard deviation and range of a number over the runs of a group."""

    mean: float
    deviation: float | None
    """Sample standard deviation (n - 1); None for a single run."""
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedGroup:
    """Runs of one recipe that differ only in the seed."""

    title: str
    sampler: str
    scheduler: str
    num_runs: int
    num_trials: Spread
    epochs: Spread
    value: Spread | None
    """Spread over the runs that have a value; None if none has."""
    test: Spread | None
    epochs_to_target: Spread | None
    """None if any run of the group did not reach the target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchComparison:
    """The result of `probe compare`."""

    schema: int = SCHEMA_VERSION
    kind: Literal["search_comparison"] = "search_comparison"
    meta: RunMeta
    """The environment of the first run, with the command line and the time of the comparison."""
    stopped_by: Literal["finished"] = "finished"
    metric: str
    mode: Literal["max", "min"]
    target: float | None
    """The worst of the runs' best values; None if no run has a value."""
    runs: tuple[ComparedRun, ...]
    groups: tuple[ComparedGroup, ...]
    """Groups in the order in which their first runs were given."""
    warnings: tuple[str, ...] = ()
