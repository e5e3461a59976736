"""The report of learning rates for several optimizers or batch sizes, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from probe.lr.records import LrComparison, LrResult
from probe.report.lr.page import confirmation_block, points_table, warnings_block
from probe.report.lr.summary import answer_text, axis_title, comparison_rows, method_text, training_steps_text
from probe.report.shared.common import asked_block, environment_block, partial_note
from probe.report.shared.markdown import escape, image, page, table
from probe.units import format_count, format_lr, format_seconds

COMPARED_LRS_PLOT = "learning_rates.png"

_PARTIAL = {
    "interrupted": "the comparison was interrupted, so that rows may be missing.",
    "error": "the comparison was ended by an error, so that rows are missing.",
}
_READING = {
    "optimizer": (
        "Each optimizer has its own scale: one range of learning rates for all of them would waste most of a search. A search "
        "samples around each suggestion, by default from 1.5 decades below to half a decade above."
    ),
    "batch_size": (
        "By rule of thumb the learning rate grows in proportion to the batch with SGD (Goyal et al. 2017) and with its square "
        "root with Adam (Malladi et al. 2022); the table is what was measured. A larger batch makes fewer steps of an epoch."
    ),
}


def lr_comparison_page(result: LrComparison, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that could be drawn."""
    title = axis_title(result)
    header = [title, "suggested", "good band", "training steps spent"]
    names = [row[0] for row in comparison_rows(result)]
    return page(
        [
            f"# Learning rates for each {title}: {escape(result.task)}",
            partial_note(_PARTIAL.get(result.stopped_by)),
            table(header, [[escape(cell) for cell in row] for row in comparison_rows(result)], right=(1, 2, 3)),
            _READING[result.axis],
            *[
                image(file, f"Suggestion and good band for each {title}.")
                for file in plots
                if file == COMPARED_LRS_PLOT
            ],
            asked_block(result.meta, _asked(result)),
            "## Each by itself",
            *[block for name, one in zip(names, result.results, strict=True) for block in _blocks(name, one)],
            "## What it cost",
            f"{format_count(sum(one.num_steps for one in result.results))} training steps in {format_seconds(result.seconds)}.",
            environment_block(result.meta),
        ]
    )


def _blocks(name: str, result: LrResult) -> list[str | None]:
    """Its answer, then what it rests on, folded away."""
    training_steps = training_steps_text(result)
    reached = (
        f"From {method_text(result)}; {training_steps}." if result.suggestion is not None and training_steps else ""
    )
    numbers = "\n\n".join(block for block in (confirmation_block(result), points_table(result)) if block)
    return [
        f"### {escape(name)}",
        f"**{escape(answer_text(result))}.** {escape(reached)}".rstrip(),
        warnings_block(result.warnings),
        f"<details><summary>the numbers</summary>\n\n{numbers}\n\n</details>",
    ]


def _asked(result: LrComparison) -> list[tuple[str, str]]:
    first = result.results[0]
    other = (
        ("batch size", format_count(first.batch_size)) if result.axis == "optimizer" else ("optimizer", first.optimizer)
    )
    return [
        ("task", escape(result.task)),
        (other[0], escape(other[1])),
        ("lr_schedule", first.lr_schedule),
        ("precision", first.precision),
        ("range", f"{format_lr(first.lowest_lr)} to {format_lr(first.highest_lr)}"),
    ]
