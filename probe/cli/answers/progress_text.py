"""Single lines about what is going on, for the live view and for plain output."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from probe.report.shared.wording import metric_text, plural
from probe.search.analysis.messages import reason
from probe.units import format_count, format_lr, format_seconds, format_value

if TYPE_CHECKING:
    from probe.lr.plan import LrPlan
    from probe.lr.records import ConfirmRun, LrProgress
    from probe.search.records.search import ParamValue, TrialResult
    from probe.single.records import TrainStarted
    from probe.training.records import EpochReport


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
