"""What the final fit is asked and what it answers: all that the search itself, which loads no PyTorch, sees of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from probe.device.select import DeviceSpec
from probe.search.jobs import Split
from probe.search.records import FinalFit, ParamValue, Score
from probe.seeds import derive_seed
from probe.zoo.source import TaskSource


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalJob:
    source: TaskSource
    params: Mapping[str, ParamValue]
    seed: int
    split: Split
    device: DeviceSpec
    epochs: int
    """The winner's best number of epochs; schedules are stretched over it."""
    metric: str
    weights_path: Path | None = None
    """Where the trained weights go; None: nowhere."""
    num_threads: int = 1
    """PyTorch's threads: the final fit runs alone, so the cores that the trials shared are all its own."""


def final_seed(search_seed: int, number: int) -> int:
    """Of the final fit of trial `number`: it tells which winner a stored fit is of."""
    return derive_seed(search_seed, number, "final")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalOutcome:
    fit: FinalFit | None
    test: Score | None
    seconds: float
    warning: str | None = None
    """Why there is no fit or no score."""


def fit_in_worker(job: FinalJob) -> FinalOutcome:
    """The whole final fit; sent to a worker, which loads PyTorch."""
    from probe.search.final import run_final

    return run_final(job)
