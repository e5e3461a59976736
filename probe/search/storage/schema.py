"""The contents of `search.sqlite` beside the events: tables and views, how the search was started, and its finished
stages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from probe.records import RunMeta
from probe.search.records.search import BudgetLimits, SearchStoppedBy
from probe.search.space.space import Space

FILE_SCHEMA = 1
"""SQLite's `user_version` of the file. Increased when a table or the meaning of an event changes."""
TABLES = """
CREATE TABLE search (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sessions (id INTEGER PRIMARY KEY, seconds REAL NOT NULL, meta TEXT NOT NULL);
CREATE TABLE stages (name TEXT PRIMARY KEY, seconds REAL NOT NULL, record TEXT NOT NULL);
CREATE TABLE events (id INTEGER PRIMARY KEY, seconds REAL NOT NULL, kind TEXT NOT NULL, trial INTEGER, record TEXT NOT NULL);
CREATE VIEW suggested AS SELECT id, seconds, trial, json_extract(record, '$.params') AS params,
    json_extract(record, '$.positions') AS positions, json_extract(record, '$.seed') AS seed
    FROM events WHERE kind = 'TrialSuggested';
CREATE VIEW started AS SELECT id, seconds, trial, json_extract(record, '$.rung') AS rung
    FROM events WHERE kind = 'TrialStarted';
CREATE VIEW reported AS SELECT id, seconds, trial, json_extract(record, '$.report.epoch') AS epoch,
    json_extract(record, '$.report.train_loss') AS train_loss, json_extract(record, '$.report.val_loss') AS val_loss,
    json_extract(record, '$.report.metrics') AS metrics, json_extract(record, '$.report.seconds') AS epoch_seconds
    FROM events WHERE kind = 'EpochReported';
CREATE VIEW ended AS SELECT id, seconds, trial, json_extract(record, '$.report.outcome') AS outcome,
    json_extract(record, '$.report.seconds') AS rung_seconds, json_extract(record, '$.report.message') AS message
    FROM events WHERE kind = 'TrialEnded';
CREATE VIEW resumed AS SELECT id, seconds, json_extract(record, '$.after') AS after
    FROM events WHERE kind = 'SearchResumed';
CREATE VIEW trials AS SELECT trial, params,
    (SELECT max(rung) FROM started WHERE started.trial = suggested.trial) AS last_rung_started,
    (SELECT count(DISTINCT epoch) FROM reported WHERE reported.trial = suggested.trial) AS epochs,
    (SELECT outcome FROM ended WHERE ended.trial = suggested.trial ORDER BY id DESC LIMIT 1) AS last_outcome
    FROM suggested;
"""

LOAD, SCHEDULER, BATCH, PROBED, END, FINAL = "load", "scheduler", "batch", "probed", "end", "final"
"""Names of stages. SCHEDULER holds the choice that the search started with, which a larger budget does not change."""
CLUSTER = "cluster"
"""Name of the stage with the cluster of the last session; missing if it ran on one machine."""
LR_PREFIX = "lr:"
"""Prefix of the names of range tests, followed by the optimizer, or by nothing if one test serves all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchStart:
    """How a search was started: the recipe and the settings that a resumed search must repeat."""

    recipe: str
    """The recipe as TOML, command-line changes included."""
    device: str
    data_dir: str
    num_workers: int
    deterministic: bool
    meta: RunMeta


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The result of the probes: everything that the first trial depends on."""

    space: Space
    sampler: str
    sampler_reason: str | None
    probe_epochs: float
    warnings: tuple[str, ...]
    device_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEnded:
    """How the trials ended, and with which budget."""

    stopped_by: SearchStoppedBy
    limits: BudgetLimits


def lr_stages(names: Iterable[str]) -> dict[str, str]:
    """Return optimizer -> stage name for the range tests among `names`, in their order."""
    return {name.removeprefix(LR_PREFIX): name for name in names if name.startswith(LR_PREFIX)}
