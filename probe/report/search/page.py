"""The report of a search, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from probe.report.batch.page import answer as batch_answer
from probe.report.batch.page import attempts_table, batch_plots
from probe.report.batch.text import limit_text
from probe.report.folders import file_name
from probe.report.lr.page import answer as lr_answer
from probe.report.lr.page import lr_caption, warnings_block
from probe.report.search.choice_tables import choices_table
from probe.report.search.cluster_page import cluster_blocks, slots_line
from probe.report.search.importance_page import importance_paragraph
from probe.report.search.refinement_page import refinement_blocks
from probe.report.search.regularization import loss_note, regularization_blocks, winner_text, zero_text
from probe.report.search.summary import (
    objective_name,
    optimism_text,
    status_counts,
    ties,
    ties_text,
    tried_text,
    value_spread,
    winner,
)
from probe.report.search.tables import best_table, rungs_table, space_table, spent_table, trials_table
from probe.report.shared.common import (
    CURVES_CAPTION,
    asked_block,
    baseline_text,
    environment_block,
    loading_text,
    metric_text,
    partial_note,
    test_trust,
)
from probe.report.shared.diagnosis_text import diagnosis_block
from probe.report.shared.markdown import code, command, escape, fenced, image, page, sentence
from probe.search.records.search import SearchResult
from probe.search.schedulers.fidelity import rung_names
from probe.units import format_count

BEST_FILE = "best.toml"
HISTORY_PLOT = "history.png"
WINNER_PLOT = "learning_curves.png"
ALL_CURVES_PLOT = "all_learning_curves.png"
IMPORTANCE_PLOT = "importance.png"
PARALLEL_PLOT = "parallel_coordinates.png"
BATCH_PREFIX = "batch_"

_STOPPED_BY = {
    "trials": "the budget's number of trials was reached",
    "epochs": "the budget's epochs were spent",
    "time": "the budget's time was up",
    "refined": "gradient steps from the best trial led no further",
    "failures": "too many trials failed",
    "interrupted": "it was interrupted",
}
_INTERVAL_NOTE = (
    "The order among them is not established. The interval is that of one score, not of a difference: trials are scored on "
    "the same samples, so a paired test could separate some of them, but needs each sample's result, which is not stored."
)
_PARTIAL = {
    "interrupted": "the search was interrupted before its budget was spent.",
    "failures": "the search gave up because too many trials failed.",
}


def search_page(result: SearchResult, plots: Sequence[str], *, best_recipe: str | None = None) -> str:
    """Markdown; `plots` are the files that could be drawn, `best_recipe` the text of best.toml."""
    return page(
        [
            f"# Search: {escape(result.name)}",
            partial_note(_PARTIAL.get(result.stopped_by)),
            answer(result),
            _trust(result),
            best_table(result),
            warnings_block(result.warnings),
            asked_block(result.meta, _asked(result)),
            "## The winner" if result.best is not None else None,
            _plot(plots, WINNER_PLOT, CURVES_CAPTION),
            winner_text(result),
            *([] if result.diagnosis is None else diagnosis_block(result.diagnosis)),
            *regularization_blocks(result),
            "### The final fit" if result.final is not None and result.diagnosis is not None else None,
            _final_text(result),
            *_reuse(best_recipe),
            "## How it was found",
            _fidelity(result),
            loss_note(result),
            _plot(
                plots,
                HISTORY_PLOT,
                "Value of every trial at the epochs spent so far; the line is the best value so far.",
            ),
            _plot(
                plots,
                ALL_CURVES_PLOT,
                f"Learning curves ({objective_name(result)}) of all trials, the winner's in bold.",
            ),
            importance_paragraph(result),
            _plot(
                plots,
                IMPORTANCE_PLOT,
                "Share of the variation that each hyperparameter explains beyond chance, among the trials that have it.",
            ),
            _plot(plots, PARALLEL_PLOT, _parallel_caption(result)),
            *refinement_blocks(result),
            *_probe_blocks(result, plots),
            *_headed("### Choices compared", choices_table(result)),
            "### Space",
            space_table(result),
            "### Trials",
            trials_table(result),
            "## What it cost",
            spent_table(result),
            rungs_table(result),
            slots_line(result),
            *cluster_blocks(result),
            "## Run it again",
            _again(result),
            environment_block(result.meta),
        ]
    )


def answer(result: SearchResult) -> str:
    """The answer in one bold sentence: the best value, its configuration, and the test score where there is one."""
    best, test = result.best, result.test
    if best is None:
        return f"**No trial was completed, so there is no best configuration ({escape(_counts(result))}).**"
    won = winner(result)
    spread = None if won is None else value_spread(result, won)
    over_folds = (
        ""
        if spread is None
        else f", standard deviation {metric_text(result.metric, spread)} over {result.num_folds} folds"
    )
    found = f"Best {objective_name(result)}: {metric_text(result.metric, best.value)} (trial {best.number}{over_folds})"
    if test is None:
        return f"**{escape(found)}; not scored on test data.**"
    interval = (
        ""
        if test.low is None or test.high is None
        else (f", 95 % interval {metric_text(test.metric, test.low)} to {metric_text(test.metric, test.high)}")
    )
    compared = baseline_text(test, result.mode)
    score = f"test {test.metric} after the final fit: {metric_text(test.metric, test.value)}"
    return f"**{escape(f'{found}; {score} ({format_count(test.num_samples)} samples{interval}){compared}')}.**"


def _trust(result: SearchResult) -> str | None:
    """How sure the answer is, or what to try where there is none."""
    if result.best is None:
        return (
            "What to try next: look at the status and the note of each trial below; a larger budget if the trials were cut "
            "off, a smaller learning rate if they diverged, a smaller batch size or model if they ran out of memory."
        )
    chosen = optimism_text(result)
    told = [
        ("" if chosen is None else f"The validation figure is {chosen}, and therefore optimistic; ")
        + (
            test_trust(result.test)
            if result.test is not None
            else "a test part, which is read once at the end, would show by how much."
        )
    ]
    tied = ties_text(result)
    if tied is None and len(result.trials) > 1:
        told.append(
            f"Which other trials tie with the best one is not known: how the {escape(objective_name(result))} varies from "
            "sample to sample is not stored."
        )
    elif tied is not None:
        told.append(f"{escape(sentence(tied))} {_INTERVAL_NOTE if ties(result) else ''}".strip())
    return " ".join(told)


def _asked(result: SearchResult) -> list[tuple[str, str]]:
    ranked = (
        f"{',' if result.scheduler_reason is None else ';'} ranked {rung_names(result.rung_unit, result.rungs)}"
        if result.rungs
        else ""
    )
    return [
        ("recipe", escape(result.name)),
        ("task", escape(result.task)),
        ("objective", escape(f"{objective_name(result)}, {result.mode}")),
        *(
            [("validation", f"means over {result.num_folds} folds, ± their standard deviation")]
            * (result.num_folds > 1)
        ),
        ("sampler", escape(result.sampler_reason or result.sampler)),
        ("scheduler", escape((result.scheduler_reason or result.scheduler) + ranked)),
        ("workers", str(result.num_workers)),
    ]


def _final_text(result: SearchResult) -> str | None:
    if result.final is None:
        return None
    return (
        f"Final fit: the winner's configuration trained anew on training and validation data together for "
        f"{format_count(result.final.epochs)} epochs, seed {result.final.seed}. It has no "
        f"validation curve, for it has seen that data.{_weights_text(result.final.weights_file)}{_zeros(result)}"
    )


def _zeros(result: SearchResult) -> str:
    """Where L1 is used, how many weights it took to zero."""
    final, best = result.final, result.best
    if final is None or final.weights is None or best is None or not best.params.get("l1"):
        return ""
    return f" {zero_text(final.weights)}."


def _weights_text(file: str | None) -> str:
    if file is None:
        return ""
    return f" Its weights are in [{file}]({file}): {loading_text(file)}."


def _reuse(best_recipe: str | None) -> list[str]:
    if best_recipe is None:
        return []
    told = (
        f"The winner as a recipe is [{BEST_FILE}]({BEST_FILE}): {code(f'probe train {BEST_FILE}')} trains it again, on the "
        f"training part with curves on the validation part, or with {code('--all-data')} on both like the final fit."
    )
    return ["### Use it", told, fenced(best_recipe, "toml")]


def _fidelity(result: SearchResult) -> str:
    return (
        f"{format_count(len(result.trials))} trials: {escape(_counts(result))}. The search ended because "
        f"{tried_text(result) if result.stopped_by == 'space' else _STOPPED_BY[result.stopped_by]}."
    )


def _counts(result: SearchResult) -> str:
    return ", ".join(f"{count} {status}" for status, count in status_counts(result).items()) or "no trial"


def _headed(heading: str, text: str | None) -> list[str]:
    return [] if text is None else [heading, text]


def _plot(plots: Sequence[str], file: str, caption: str) -> str | None:
    return image(file, caption) if file in plots else None


def _parallel_caption(result: SearchResult) -> str:
    return (
        "Parallel coordinates: a line is a trial on its way through its hyperparameters to its "
        f"{objective_name(result)}, better values on top; thick with dots: the winner."
    )


def _probe_blocks(result: SearchResult, plots: Sequence[str]) -> list[str]:
    """The answers of the batch probe and of the range tests that filled in the space."""
    blocks = []
    if result.batch_probe is not None:
        blocks += ["### Batch probe", batch_answer(result.batch_probe), *batch_plots(plots, BATCH_PREFIX)]
        blocks += [escape(text) for text in (limit_text(result.batch_probe),) if text]
        blocks.append(attempts_table(result.batch_probe.attempts))
    if result.lr_probes:
        blocks.append("### Learning-rate probe" + ("s" if len(result.lr_probes) > 1 else ""))
    for probe, file in zip(result.lr_probes.values(), lr_plot_files(result), strict=True):
        blocks.append(lr_answer(probe))
        blocks += [text for text in (warnings_block(probe.warnings),) if text]
        blocks += [image(file, lr_caption(probe))] if file in plots else []
    return blocks


def lr_plot_files(result: SearchResult) -> list[str]:
    """One file name for each range test, in their order: `lr.png`, or `lr_sgd.png`, `lr_adam.png`."""
    files: list[str] = []
    for optimizer in result.lr_probes:
        name = f"lr_{file_name(optimizer)}" if optimizer else "lr"
        files.append(f"{name}.png" if f"{name}.png" not in files else f"{name}_{len(files)}.png")
    return files


def _again(result: SearchResult) -> str:
    typed = command(result.meta.argv)
    how = (
        "The recipe as it ran, command-line changes included:"
        if typed
        else "It was called from Python, with this recipe:"
    )
    return page([None if typed is None else fenced(typed, "sh"), how, fenced(result.recipe, "toml")]).rstrip()
