"""The report of an LR probe, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from probe.lr.confirm import TOLERANCE
from probe.lr.records import Confirmation, LrCurve, LrPoint, LrResult
from probe.lr.suggest import FREE_PASSES
from probe.report.lr.summary import (
    CURVE_ENDS,
    answer_text,
    band_text,
    method_text,
    other_finders_rows,
    run_rows,
    scaling_text,
    spread_text,
    training_steps_text,
    unseen_text,
)
from probe.report.shared.common import asked_block, data_pointer, environment_block, partial_note
from probe.report.shared.markdown import bullets, escape, image, page, table
from probe.units import format_count, format_lr, format_percent, format_seconds, format_value

LR_PLOT = "loss_against_lr.png"
NUM_TABLE_POINTS = 9
_RUNS_DECIDED = (
    " The suggestion is the lowest learning rate that loses at most "
    f"{format_percent(TOLERANCE)} of the attainable decrease."
)


def lr_page(result: LrResult, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that could be drawn."""
    partial = "the probe was interrupted." if result.stopped_by == "interrupted" else None
    return page(
        [
            f"# Learning rate: {escape(result.task)}",
            partial_note(partial),
            answer(result),
            meaning(result),
            warnings_block(result.warnings),
            asked_block(result.meta, _asked(result)),
            "## How it was found",
            how(result),
            *[image(file, lr_caption(result)) for file in plots if file == LR_PLOT],
            other_finders_block(result),
            confirmation_block(result),
            "### The range test in numbers",
            points_table(result),
            "## What it cost",
            f"{format_count(result.num_steps)} training steps in {format_seconds(result.seconds)}.",
            environment_block(result.meta),
        ]
    )


def answer(result: LrResult) -> str:
    """The answer in one bold sentence, with its band."""
    what = f"{escape(result.optimizer)} at batch size {format_count(result.batch_size)}"
    text = answer_text(result)
    return f"**For {what}: {text}.**"


def meaning(result: LrResult) -> str:
    """What the suggestion means and how far it can be trusted, or what to try where there is none."""
    if result.suggestion is None and result.stopped_by == "interrupted":
        return "The steps made so far are below; only a range test that runs to its end can be read."
    if result.suggestion is None:
        why = "" if result.warnings else "The curve shows no usable fall of the loss. "
        return (
            f"{why}What to try next: another range (`--from`, `--to`), more `--steps`, another `--batch` or optimizer; a loss "
            "that never falls at any learning rate usually means a fault in the model, the loss or the data."
        )
    training_steps = training_steps_text(result)
    told = [f"It is found from {method_text(result)}.", band_text(result) + "."]
    if training_steps is not None:
        told.insert(0, f"It is {escape(training_steps)}.")
    if result.depth == "range_test" and result.confirmation is None:
        told.append(
            "The range test sees training losses only and is short: `--confirm` checks the answer on unseen data at about "
            "twice the cost."
        )
    scaling = scaling_text(result)
    if scaling is not None:
        told.append(scaling[0].upper() + scaling[1:].replace("--batch 32,128,512", "`--batch 32,128,512`") + ".")
    return " ".join(told)


def warnings_block(warnings: Sequence[str]) -> str | None:
    if not warnings:
        return None
    return "**Warnings**\n\n" + bullets([escape(warning) for warning in warnings])


def how(result: LrResult) -> str:
    """The range tests in words, and how each curve ended."""
    told = (
        f"The learning rate grew exponentially from {format_lr(result.lowest_lr)} to {format_lr(result.highest_lr)}, one "
        "training step at each value; model, optimizer and random states were put back afterwards. The loss is smoothed by a "
        "Gaussian, and where it has made 90 % of its drop is the range test's answer."
    )
    if result.passes > FREE_PASSES:
        told += (
            f" Training that goes over its data more than {FREE_PASSES:g} times at a learning rate that high would mostly "
            "overfit; the range test's answer is lowered in proportion."
        )
    ends = [f"seed {curve.seed}: {len(curve.points)} steps, {_end(curve)}" for curve in result.curves]
    spread = spread_text(result)
    return f"{told}\n\n{bullets(ends + ([spread] if spread else []))}" if ends else told


def lr_caption(result: LrResult) -> str:
    """Of the plot."""
    found = result.suggestion
    told = f"Training loss of {result.optimizer} against the learning rate: thin and light as measured, thick smoothed."
    if found is not None:
        told += f" The dashed line is the suggestion {format_lr(found.lr)}, the shade its good band."
    if result.confirmation is not None:
        told += " Beside it, the loss on unseen data of the runs at constant learning rates."
    return told


def other_finders_block(result: LrResult) -> str | None:
    """What other rules read off the same curve."""
    rows = other_finders_rows(result)
    if not rows:
        return None
    told = table(["rule", "learning rate"], [[escape(name), lr] for name, lr in rows], right=(1,))
    return f"Other finders' rules, applied to the same smoothed curve, for those who know them:\n\n{told}"


def confirmation_block(result: LrResult) -> str | None:
    """The runs, and what they let expect."""
    confirmation = result.confirmation
    if confirmation is None:
        return None
    header = ["learning rate", f"loss after {format_count(confirmation.planned_steps)} steps", "expected at the end"]
    told = table(header, [list(row) for row in run_rows(confirmation)], right=(0, 1, 2))
    return f"### The runs that check it\n\n{_runs_text(result, confirmation)}\n\n{told}"


def _runs_text(result: LrResult, confirmation: Confirmation) -> str:
    return (
        f"Each run starts from the same fresh weights and goes over the same batches, at a constant learning rate; its loss is "
        f"that on {unseen_text(confirmation)} ({format_value(confirmation.initial_loss)} before training). How far it gets "
        "depends mostly on learning rate times steps, so what a high learning rate goes through in a short run, a lower one "
        f"goes through later: that is how the loss at the end of {format_count(result.training_steps or 0)} steps is expected."
        + (_RUNS_DECIDED if result.depth != "range_test" else "")
    )


def points_table(result: LrResult) -> str:
    """A handful of points of the first curve, evenly spread over its learning rates, the suggestion's among them."""
    if not result.curves or not result.curves[0].points:
        return "No step was measured."
    curve = result.curves[0]
    wanted = [] if result.suggestion is None else [result.suggestion.lr]
    rows = [
        [format_lr(point.lr), format_value(point.loss), format_value(point.smoothed_loss)]
        for point in chosen_points(curve.points, wanted)
    ]
    told = table(["learning rate", "loss", "smoothed loss"], rows, right=(0, 1, 2))
    return f"{told}\n\n{data_pointer('Every step of every curve')}"


def chosen_points(points: Sequence[LrPoint], lrs: Sequence[float]) -> list[LrPoint]:
    """About NUM_TABLE_POINTS of the points, first and last included, and those nearest to `lrs`; in growing order."""
    last = len(points) - 1
    places = {round(last * i / (NUM_TABLE_POINTS - 1)) for i in range(NUM_TABLE_POINTS)}
    places |= {min(range(len(points)), key=lambda i: abs(points[i].lr - lr)) for lr in lrs}
    return [points[place] for place in sorted(places)]


def _asked(result: LrResult) -> list[tuple[str, str]]:
    rows = [
        ("task", escape(result.task)),
        ("optimizer", escape(result.optimizer)),
        ("lr_schedule", result.lr_schedule),
        ("precision", result.precision),
        ("batch size", format_count(result.batch_size)),
        ("range", f"{format_lr(result.lowest_lr)} to {format_lr(result.highest_lr)}"),
    ]
    if result.training_steps is not None:
        assumed = " (assumed)" if result.training_steps_assumed else ""
        rows.append(("planned training", f"{format_count(result.training_steps)} steps{assumed}"))
    return rows


def _end(curve: LrCurve) -> str:
    if curve.ended_by not in CURVE_ENDS:
        return "to the highest learning rate"
    at = f" at {format_lr(curve.points[-1].lr)}" if curve.points else ""
    return f"{CURVE_ENDS[curve.ended_by]}{at}"
