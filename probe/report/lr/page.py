"""The reports of a learning-rate probe and of several compared, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from probe.lr.confirm import TOLERANCE
from probe.lr.records import Confirmation, LrComparison, LrPoint, LrResult
from probe.lr.suggest import FREE_PASSES
from probe.report.lr.summary import (
    axis_title,
    comparison_rows,
    lr_comparison_summary,
    lr_summary,
    other_finders_rows,
    range_text,
    unseen_text,
)
from probe.report.shared.markdown import (
    IN_SETTINGS,
    code,
    escape,
    folded,
    plot_block,
    result_page,
    settings_block,
    summary_blocks,
    table,
)
from probe.units import format_count, format_lr, format_percent, format_value

LR_PLOT = "loss_against_lr.png"
COMPARED_LRS_PLOT = "learning_rates.png"
NUM_TABLE_POINTS = 9

_PARTIAL = {
    "interrupted": "the comparison was interrupted: rows may be missing.",
    "error": "an error ended the comparison: rows are missing.",
}
_READING = {
    "optimizer": (
        "Each optimizer has its own scale: one range of learning rates for all of them would waste most of a search. A search "
        "samples around each suggestion, by default from 1.5 decades below to half a decade above."
    ),
    "batch_size": (
        "As a rule of thumb the learning rate grows in proportion to the batch size with SGD (Goyal et al. 2017) and with its "
        "square root with Adam (Malladi et al. 2022); the table shows what was measured. A larger batch makes fewer steps per "
        "epoch."
    ),
}


def lr_page(result: LrResult, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that were drawn."""
    blocks = [
        *summary_blocks(lr_summary(result), without=IN_SETTINGS),
        range_text(result) if result.suggestion is not None else None,
        settings_block(result.meta, _settings(result)),
        "## How it was found",
        _method_text(result),
        plot_block(plots, LR_PLOT, lr_caption(result)),
        *_detail_blocks(result),
    ]
    partial = "the probe was interrupted." if result.stopped_by == "interrupted" else None
    return result_page(f"Learning rate: {escape(result.task)}", result.meta, blocks, partial=partial)


def lr_comparison_page(result: LrComparison, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that were drawn."""
    title, names = axis_title(result), [row[0] for row in comparison_rows(result)]
    blocks = [
        *summary_blocks(lr_comparison_summary(result), without=IN_SETTINGS),
        _READING[result.axis],
        plot_block(plots, COMPARED_LRS_PLOT, f"Suggestion and good range for each {title}."),
        settings_block(result.meta, _comparison_settings(result)),
        f"## Each {title}",
        *[block for name, one in zip(names, result.results, strict=True) for block in _result_blocks(name, one)],
    ]
    heading = f"Learning rates for each {title}: {escape(result.task)}"
    return result_page(heading, result.meta, blocks, partial=_PARTIAL.get(result.stopped_by))


def _result_blocks(name: str, result: LrResult) -> list[str | None]:
    """The summary of one result of several, and its numbers as a block to unfold."""
    summary = summary_blocks(lr_summary(result), without=(*IN_SETTINGS, "Note", "Next", "Cost"))
    return [f"### {escape(name)}", *summary, folded("the numbers", _detail_blocks(result))]


def _detail_blocks(result: LrResult) -> list[str | None]:
    confirmation = result.confirmation
    runs = [] if confirmation is None else ["### Confirmation runs", _runs_text(result, confirmation)]
    return [_other_finders_block(result), *runs, "### Range test", points_table(result)]


def _method_text(result: LrResult) -> str:
    text = (
        f"The learning rate grew exponentially from {format_lr(result.lowest_lr)} to {format_lr(result.highest_lr)}, with one "
        "training step at each value; model, optimizer and random states were restored afterwards. The loss is smoothed with a "
        "Gaussian; the range test's answer is where it has made 90 % of its drop."
    )
    if result.passes > FREE_PASSES:
        text += (
            f" A training run with more than {FREE_PASSES:g} passes over its data would mostly overfit at such a learning "
            "rate; the range test's answer is lowered in proportion."
        )
    return text


def lr_caption(result: LrResult) -> str:
    """The caption of the plot."""
    found = result.suggestion
    text = f"Training loss of {result.optimizer} against the learning rate: thin and light as measured, thick smoothed."
    if found is not None:
        text += f" The dashed line is the suggestion {format_lr(found.lr)}, the shaded area its good range."
    if result.confirmation is not None:
        text += " Next to it, the loss on unseen data of the runs at constant learning rates."
    return text


def _other_finders_block(result: LrResult) -> str | None:
    """The suggestions of other rules; None in results of older versions."""
    rows = other_finders_rows(result)
    if not rows:
        return None
    cells = table(["rule", "learning rate"], [[escape(name), lr] for name, lr in rows], right=(1,))
    return f"Rules of other learning-rate finders, applied to the same smoothed curve:\n\n{cells}"


def _runs_text(result: LrResult, confirmation: Confirmation) -> str:
    """What the runs that check the suggestion measure; the summary has their table."""
    text = (
        "Each run starts from the same initial weights and uses the same batches, at a constant learning rate; its loss is "
        f"measured on {unseen_text(confirmation)} ({format_value(confirmation.initial_loss)} before training). How far a run "
        "gets depends mostly on learning rate times steps, so a lower learning rate follows later what a high one shows in a "
        f"short run: this gives the expected loss at the end of {format_count(result.training_steps or 0)} steps."
    )
    if result.depth == "range_test":
        return text
    tolerance = format_percent(TOLERANCE, decimals=0)
    return f"{text} The suggestion is the lowest learning rate that gives up at most {tolerance} of the loss reduction."


def points_table(result: LrResult) -> str:
    """A few points of the first curve, evenly spread over its learning rates, and the one at the suggestion."""
    if not result.curves or not result.curves[0].points:
        return "No step was measured."
    wanted = [] if result.suggestion is None else [result.suggestion.lr]
    rows = [
        [format_lr(point.lr), format_value(point.loss), format_value(point.smoothed_loss)]
        for point in chosen_points(result.curves[0].points, wanted)
    ]
    cells = table(["learning rate", "loss", "smoothed loss"], rows, right=(0, 1, 2))
    return f"{cells}\n\nEvery step of every curve: {code('result.json')}."


def chosen_points(points: Sequence[LrPoint], lrs: Sequence[float]) -> list[LrPoint]:
    """About NUM_TABLE_POINTS points in growing order: the first, the last, and those nearest to `lrs` are among them."""
    last = len(points) - 1
    places = {round(last * i / (NUM_TABLE_POINTS - 1)) for i in range(NUM_TABLE_POINTS)}
    places |= {min(range(len(points)), key=lambda i: abs(points[i].lr - lr)) for lr in lrs}
    return [points[place] for place in sorted(places)]


def _settings(result: LrResult) -> list[tuple[str, str]]:
    own = [("optimizer", escape(result.optimizer)), ("batch size", format_count(result.batch_size))]
    rows = [("task", escape(result.task)), *own, *_common_settings(result)]
    if result.training_steps is not None:
        assumed = " (assumed)" if result.training_steps_assumed else ""
        rows.append(("planned training", f"{format_count(result.training_steps)} steps{assumed}"))
    return rows


def _comparison_settings(result: LrComparison) -> list[tuple[str, str]]:
    first = result.results[0]
    shared = ("optimizer", escape(first.optimizer))
    if result.axis == "optimizer":
        shared = ("batch size", format_count(first.batch_size))
    return [("task", escape(result.task)), shared, *_common_settings(first)]


def _common_settings(result: LrResult) -> list[tuple[str, str]]:
    tested = f"{format_lr(result.lowest_lr)} to {format_lr(result.highest_lr)}"
    return [("lr_schedule", escape(result.lr_schedule)), ("precision", escape(result.precision)), ("range", tested)]
