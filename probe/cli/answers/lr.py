"""The answer of `probe lr` in a few lines, and what it says on its way. Records in, text out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.cli.answers.layout import Rows, labelled, plural
from probe.cli.answers.tables import TextTable
from probe.report.lr.summary import (
    CURVE_ENDS,
    answer_text,
    axis_title,
    comparison_rows,
    method_text,
    other_finders_text,
    run_rows,
    scaling_text,
    spread_text,
    training_steps_text,
)
from probe.units import format_count, format_lr, format_seconds, format_value

if TYPE_CHECKING:
    from probe.lr.plan import LrPlan
    from probe.lr.records import ConfirmRun, LrComparison, LrCurve, LrProgress, LrResult


def lr_rows(result: LrResult) -> Rows:
    rows: Rows = [("Answer", answer_text(result))]
    training_steps = training_steps_text(result)
    if training_steps is not None:
        rows.append(("", training_steps))
    lr_schedule = f", {result.lr_schedule} schedule" if result.lr_schedule != "constant" else ""
    rows.append(
        ("Task", f"{result.task}, {result.optimizer}, {result.precision}, batch {result.batch_size}{lr_schedule}")
    )
    rows.append(("Device", result.meta.device))
    evidence = [describe_curve(curve) for curve in result.curves]
    evidence += [text for text in (spread_text(result), other_finders_text(result)) if text]
    if result.suggestion is not None:
        evidence.insert(0, method_text(result))
    rows += labelled("Evidence", evidence)
    if result.confirmation is not None:
        header = ("learning rate", f"loss after {result.confirmation.planned_steps}", "expected at the end")
        rows.append(("", TextTable(header=header, rows=tuple(run_rows(result.confirmation)))))
    rows += labelled("Warning", result.warnings)
    scaling = scaling_text(result)
    if scaling is not None:
        rows.append(("Note", scaling))
    rows.append(("Cost", f"{plural(result.num_steps, 'training step')}, {format_seconds(result.seconds)}"))
    return rows


def lr_comparison_rows(result: LrComparison) -> Rows:
    found = sum(one.suggestion is not None for one in result.results)
    title = axis_title(result)
    noun = f"{title}s" if len(result.results) != 1 else title
    if title == "batch size":
        noun = "batch sizes" if len(result.results) != 1 else "batch size"
    rows: Rows = [("Answer", f"learning rates for {found} of {len(result.results)} {noun}")]
    header = (title, "suggested", "good from .. to", "steps")
    rows.append(("", TextTable(header=header, rows=tuple(comparison_rows(result)), num_left=1)))
    rows += [("Task", result.task), ("Device", result.meta.device)]
    for name, one in zip([row[0] for row in comparison_rows(result)], result.results, strict=True):
        rows += labelled("Warning", [f"{name}: {warning}" for warning in one.warnings])
    steps = sum(one.num_steps for one in result.results)
    rows.append(("Cost", f"{plural(steps, 'training step')}, {format_seconds(result.seconds)}"))
    return rows


def describe_plan(plan: LrPlan) -> str:
    """What a probe is about to spend: `up to 700 training steps: a range test of 200, then 5 runs of 100`."""
    tests = "a range test" if plan.repeats == 1 else f"{plan.repeats} range tests"
    each = "" if plan.repeats == 1 else " each"
    runs = f", then {plan.num_runs} runs of {format_count(plan.run_steps)}" if plan.num_runs else ""
    return f"up to {plural(plan.max_steps, 'training step')}: {tests} of {format_count(plan.ramp_steps)}{each}{runs}"


def describe_step(progress: LrProgress) -> str:
    """One line about where a range test or a run is."""
    return (
        f"{progress.phase}: step {format_count(progress.step)} of {format_count(progress.num_steps)}, "
        f"lr {format_lr(progress.lr)}, loss {format_value(progress.loss)}"
    )


def describe_run(run: ConfirmRun) -> str:
    """A finished run."""
    if not run.finished or not run.evaluations:
        return f"run at {format_lr(run.lr)}: blew up after {plural(run.num_steps, 'step')}"
    last = format_value(run.evaluations[-1].loss)
    return f"run at {format_lr(run.lr)}: loss on unseen data {last} after {plural(run.num_steps, 'step')}"


def describe_curve(curve: LrCurve) -> str:
    """A range test: its range, and how far the loss fell."""
    if not curve.points:
        return "no step was finished"
    first, last = curve.points[0], curve.points[-1]
    lowest = min(curve.points, key=lambda point: point.smoothed_loss)
    end = f"; {CURVE_ENDS[curve.ended_by]} at {format_lr(last.lr)}" if curve.ended_by in CURVE_ENDS else ""
    return (
        f"{plural(len(curve.points), 'step')} from {format_lr(first.lr)} to {format_lr(last.lr)}: smoothed loss from "
        f"{first.smoothed_loss:.3g} down to {lowest.smoothed_loss:.3g} at {format_lr(lowest.lr)}{end}"
    )
