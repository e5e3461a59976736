"""Progress as text: a line for each record, the same in live views and in plain output."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from probe.batch.prediction_records import PredictionInfo
from probe.batch.records import Attempt, LoaderSpeed
from probe.cli.terminal import echo
from probe.lr.plan import LrPlan
from probe.lr.records import ConfirmRun, LrProgress
from probe.printable import one_line
from probe.report.batch.sentences import attempt_text, prediction_text
from probe.report.batch.speed import speed_text
from probe.report.search.cluster_page import use_text
from probe.report.shared.wording import metric_text, plural
from probe.search.analysis.messages import reason
from probe.search.records.search import ParamValue, SearchProgress, TrialResult
from probe.single.records import TrainStarted
from probe.training.records import EpochReport
from probe.units import format_count, format_lr, format_seconds, format_value

STEPS_PER_LINE = 50

_STAGES = {
    "load": "loading the data",
    "batch": "finding the batch size",
    "lr": "finding the learning rate",
    "search": "searching",
    "final": "final training",
}


def stage_text(progress: SearchProgress) -> str:
    """Return the stage of a search: `final training: 9 epochs`."""
    return _STAGES[progress.stage] + (f": {progress.message}" if progress.message else "")


class RecordText:
    """Text of progress records, by their type. `constants` are hyperparameters that are equal in all trials: not shown."""

    def __init__(self, constants: Collection[str] = ()) -> None:
        self._training: TrainStarted | None = None
        self._texts: dict[type, Callable[[Any], str | None]] = {
            str: str,  # the name of the next variant in a comparison
            Attempt: attempt_text,
            PredictionInfo: prediction_text,
            LoaderSpeed: speed_text,
            LrPlan: plan_text,
            LrProgress: step_text,
            ConfirmRun: run_text,
            TrialResult: partial(trial_text, constants=constants),
            TrainStarted: self._describe_training,
            EpochReport: self._describe_epoch,
        }

    def __call__(self, record: Any) -> str | None:
        """Return the line for a record, or None if it has none."""
        describe = self._texts.get(type(record))
        return None if describe is None else describe(record)

    def _describe_training(self, started: TrainStarted) -> str:
        self._training = started
        return training_text(started)

    def _describe_epoch(self, report: EpochReport) -> str:
        if self._training is not None:
            return epoch_text(report, self._training)
        return f"epoch {report.epoch}: training loss {format_value(report.train_loss)}"


class PlainLines:
    """An observer that prints lines to stderr, for pipes, logs and CI. Each line starts with the time since the start.

    A range test prints a line every 50 steps; a search prints its stages, changes of its cluster and new best trials.
    """

    def __init__(self, constants: Collection[str] = ()) -> None:
        self._text = RecordText(constants)
        self._started = time.monotonic()
        self._stage: str | None = None
        self._best: int | None = None
        self._nodes: tuple[int | None, int] = (None, 0)

    def __call__(self, record: Any) -> None:
        line = self._line(record)
        if line is not None:
            echo(f"[{format_seconds(time.monotonic() - self._started)}] {one_line(line)}", err=True)

    def _line(self, record: Any) -> str | None:
        if isinstance(record, SearchProgress):
            return self._search_line(record)
        if isinstance(record, LrProgress) and (record.step % STEPS_PER_LINE or not record.is_range_test):
            return None
        return self._text(record)

    def _search_line(self, progress: SearchProgress) -> str | None:
        """Return a line about what has changed since the last progress, or None if nothing has."""
        stage = stage_text(progress)
        if stage != self._stage:
            self._stage = stage
            return stage
        slots = progress.slots
        if slots is not None and slots.num_nodes is not None and (slots.num_nodes, slots.num_slots) != self._nodes:
            self._nodes = (slots.num_nodes, slots.num_slots)
            return use_text(replace(slots, utilization=None))
        if progress.best is not None and progress.best.number != self._best:
            self._best = progress.best.number
            return f"best so far: trial {self._best}, {format_value(progress.best.value)}"
        return None


def plan_text(plan: LrPlan) -> str:
    """The cost of a learning-rate probe: `up to 700 training steps: a range test of 200, then 5 runs of 100`."""
    tests = "a range test" if plan.repeats == 1 else f"{plan.repeats} range tests"
    each = "" if plan.repeats == 1 else " each"
    runs = f", then {plan.num_runs} runs of {format_count(plan.run_steps)}" if plan.num_runs else ""
    return f"up to {plural(plan.max_steps, 'training step')}: {tests} of {format_count(plan.ramp_steps)}{each}{runs}"


def step_text(progress: LrProgress) -> str:
    """The current step of a range test or run."""
    return (
        f"{progress.phase}: step {format_count(progress.step)} of {format_count(progress.num_steps)}, "
        f"lr {format_lr(progress.lr)}, loss {format_value(progress.loss)}"
    )


def run_text(run: ConfirmRun) -> str:
    """A completed run at a constant learning rate."""
    if not run.finished or not run.evaluations:
        return f"run at {format_lr(run.lr)}: diverged after {plural(run.num_steps, 'step')}"
    last = format_value(run.evaluations[-1].loss)
    return f"run at {format_lr(run.lr)}: loss on unseen data {last} after {plural(run.num_steps, 'step')}"


def params_text(params: Mapping[str, ParamValue], constants: Collection[str] = ()) -> str:
    """A configuration in one line, without constants: `lr 0.0123, width 16`."""
    return ", ".join(f"{name} {format_value(value)}" for name, value in params.items() if name not in constants)


def trial_text(trial: TrialResult, constants: Collection[str] = ()) -> str:
    """A trial at the end of a rung: `trial 7 after 3 epochs: 0.9543 (lr 0.0032, width 16)`."""
    value = format_value(trial.value) if trial.value is not None else trial.status
    why = f": {reason(trial.message)}" if trial.value is None and trial.message else ""
    params = params_text(trial.params, constants)
    return f"trial {trial.number} after {plural(trial.epochs, 'epoch')}: {value}{why} ({params})"


def training_text(started: TrainStarted) -> str:
    """`training 9 epochs on 1,150 samples, validated on 288`."""
    text = f"training {plural(started.epochs, 'epoch')} on {plural(started.num_train, 'sample')}"
    return text if started.num_val is None else f"{text}, validated on {format_count(started.num_val)}"


def epoch_text(report: EpochReport, started: TrainStarted) -> str:
    """`epoch 3 of 9: training loss 0.69, validation loss 0.2, accuracy 94.79 %, 506 ms`."""
    parts = [f"training loss {format_value(report.train_loss)}"]
    if report.val_loss is not None:
        parts.append(f"validation loss {format_value(report.val_loss)}")
    if started.metric in report.metrics:
        parts.append(f"{started.metric} {metric_text(started.metric, report.metrics[started.metric])}")
    return f"epoch {report.epoch} of {started.epochs}: {', '.join([*parts, format_seconds(report.seconds)])}"
