"""The report of an LR probe, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from probe.lr.records import LrCurve, LrPoint, LrResult
from probe.report.common import asked_block, data_pointer, environment_block, partial_note
from probe.report.markdown import bullets, escape, image, page, table
from probe.units import format_count, format_lr, format_seconds, format_value

LR_PLOT = "loss_against_lr.png"
NUM_TABLE_POINTS = 9

_ENDS = {
    "finished": "ran to the highest learning rate",
    "diverged": "ended when the loss had blown up",
    "non_finite": "ended when the loss was no longer finite",
    "interrupted": "was interrupted",
}


def lr_page(result: LrResult, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that could be drawn."""
    partial = "the range test was interrupted." if result.stopped_by == "interrupted" else None
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
            points_table(result),
            "## What it cost",
            f"{format_count(result.num_steps)} training steps in {format_seconds(result.seconds)}.",
            environment_block(result.meta),
        ]
    )


def answer(result: LrResult) -> str:
    """The answer in one bold sentence, with its band."""
    found = result.suggestion
    if found is None:
        tested = f"between {format_lr(result.lowest_lr)} and {format_lr(result.highest_lr)}"
        return f"**No learning rate {tested} can be suggested for {escape(result.optimizer)}.**"
    band = f"band {format_lr(found.low)} to {format_lr(found.high)}"
    return (
        f"**Suggested learning rate for {escape(result.optimizer)} at batch size {format_count(result.batch_size)}: "
        f"{format_lr(found.lr)} ({band}).**"
    )


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
    runs = len(result.curves)
    sure = (
        f"{format_count(runs)} range tests with different seeds agree on it as far as the plot shows."
        if runs > 1
        else "It rests on one range test; other values of `--seed` show how much it depends on the seed."
    )
    return (
        "It is the learning rate at which the smoothed training loss has made 90 % of its total drop: lower ones waste steps, "
        "the lowest point of the curve lies already at the edge of divergence. The band reaches from 80 % of the drop to that "
        "lowest point; it describes the curve and is no confidence interval. A range test is short, and short training "
        "favors high learning rates: for a run of many thousand steps, try values down to a tenth of the suggestion too. All "
        f"this is for this task, batch size and optimizer. {sure}"
    )


def warnings_block(warnings: Sequence[str]) -> str | None:
    if not warnings:
        return None
    return "**Warnings**\n\n" + bullets([escape(warning) for warning in warnings])


def how(result: LrResult) -> str:
    """The range test in words, and how each curve ended."""
    told = (
        f"The learning rate grew exponentially from {format_lr(result.lowest_lr)} to {format_lr(result.highest_lr)}, one "
        "training step at each value; model, optimizer and random states were put back afterwards."
    )
    ends = [
        f"seed {curve.seed}: {len(curve.points)} steps, {_ENDS[curve.ended_by]}{_end_lr(curve)}"
        for curve in result.curves
    ]
    return f"{told}\n\n{bullets(ends)}" if ends else told


def lr_caption(result: LrResult) -> str:
    found = result.suggestion
    told = f"Training loss of {result.optimizer} against the learning rate: thin and light as measured, thick smoothed."
    return (
        told
        if found is None
        else f"{told} The dashed line is the suggestion {format_lr(found.lr)}, the shade its band."
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
    return [
        ("task", escape(result.task)),
        ("optimizer", escape(result.optimizer)),
        ("precision", result.precision),
        ("batch size", format_count(result.batch_size)),
        ("range", f"{format_lr(result.lowest_lr)} to {format_lr(result.highest_lr)}"),
    ]


def _end_lr(curve: LrCurve) -> str:
    if not curve.points or curve.ended_by == "finished":
        return ""
    return f" at {format_lr(curve.points[-1].lr)}"
