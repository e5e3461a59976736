"""What a search's file keeps beside its events: how it began, and what each finished stage found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from probe.records import RunMeta
from probe.search.records.search import BudgetLimits, StoppedBy
from probe.search.space.space import Space

LOAD, LADDER, BATCH, PROBED, END, FINAL = "load", "scheduler", "batch", "probed", "end", "final"
"""LADDER: the LadderChoice that the search started with, which a larger budget does not change."""
CLUSTER = "cluster"
"""Where the last session ran; not there where that was one machine alone."""
LR_PREFIX = "lr:"
"""Followed by the optimizer; by nothing where one range test serves all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What a search was asked, and on what."""

    recipe: str
    """As TOML, command-line changes included."""
    device: str
    data_dir: str
    num_workers: int
    deterministic: bool
    meta: RunMeta


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What the probes made of the recipe: all that the first trial needs to know."""

    space: Space
    sampler: str
    sampler_reason: str | None
    probe_epochs: float
    warnings: tuple[str, ...]
    """The probes'."""
    device_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEnded:
    """The trials were over, or stopped."""

    stopped_by: StoppedBy
    limits: BudgetLimits


def lr_stages(names: Iterable[str]) -> dict[str, str]:
    """Optimizer -> the name of its stage, of those among `names`, in their order."""
    return {name.removeprefix(LR_PREFIX): name for name in names if name.startswith(LR_PREFIX)}
