"""Progress as plain lines, for pipes, logs and CI: one for each prediction, finished attempt, stage and trial, and one every
50 steps."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import click

from probe.batch.records import Attempt, Forecast
from probe.cli.answers.progress_text import epoch_text, plan_text, run_text, step_text, training_text, trial_text
from probe.lr.plan import LrPlan
from probe.lr.records import ConfirmRun, LrProgress
from probe.report.batch.sentences import attempt_text, forecast_text
from probe.report.search.cluster_page import use_text
from probe.search.records.search import SearchProgress, TrialResult
from probe.single.records import TrainStarted
from probe.training.records import EpochReport
from probe.units import format_seconds, format_value

STEPS_PER_LINE = 50

STAGES = {
    "load": "loading the data",
    "batch": "probing the batch size",
    "lr": "probing the learning rate",
    "search": "searching",
    "final": "final fit",
}


class PlainLines:
    """An observer that prints; every line says how long the run has taken so far."""

    def __init__(self, constants: Collection[str] = ()) -> None:
        self._constants = constants
        self._started = time.monotonic()
        self._stage = ""
        self._best: int | None = None
        self._plan: TrainStarted | None = None
        self._nodes: tuple[int | None, int] = (None, 0)

    def __call__(self, record: Any) -> None:
        line = self._line(record)
        if line is not None:
            click.echo(f"[{format_seconds(time.monotonic() - self._started)}] {line}", err=True)

    def _line(self, record: Any) -> str | None:
        if isinstance(record, Attempt):
            return attempt_text(record)
        if isinstance(record, Forecast):
            return forecast_text(record)
        if isinstance(record, str):  # what comes next, of several
            return record
        if isinstance(record, LrPlan):
            return plan_text(record)
        if isinstance(record, ConfirmRun):
            return run_text(record)
        if isinstance(record, LrProgress) and record.step % STEPS_PER_LINE == 0 and record.is_range_test:
            return step_text(record)
        if isinstance(record, TrialResult):
            return trial_text(record, self._constants)
        if isinstance(record, TrainStarted):
            self._plan = record
            return training_text(record)
        if isinstance(record, EpochReport) and self._plan is not None:
            return epoch_text(record, self._plan)
        if isinstance(record, EpochReport):
            return f"epoch {record.epoch}: training loss {format_value(record.train_loss)}"
        if isinstance(record, SearchProgress):
            return self._news(record)
        return None

    def _news(self, progress: SearchProgress) -> str | None:
        """A new stage, a cluster that has grown or shrunk, a new best; None where nothing is new."""
        stage = f"{progress.stage} {progress.message or ''}"
        if stage != self._stage:
            self._stage = stage
            return STAGES[progress.stage] + (f": {progress.message}" if progress.message else "")
        slots = progress.slots
        if slots is not None and slots.num_nodes is not None and (slots.num_nodes, slots.num_slots) != self._nodes:
            self._nodes = (slots.num_nodes, slots.num_slots)
            return use_text(replace(slots, idle_share=None))
        if progress.best is not None and progress.best.number != self._best:
            self._best = progress.best.number
            return f"best so far: trial {self._best}, {format_value(progress.best.value)}"
        return None
