"""The report of a search, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from probe.report.batch.page import attempts_table
from probe.report.batch.page import plot_blocks as batch_plot_blocks
from probe.report.batch.sentences import limit_text
from probe.report.batch.summary import batch_summary
from probe.report.lr.page import lr_caption
from probe.report.lr.summary import lr_summary
from probe.report.search.cluster_page import cluster_blocks, slots_line
from probe.report.search.figures import ties
from probe.report.search.refinement import refinement_blocks
from probe.report.search.regularization import loss_note, regularization_blocks, winner_text, zero_text
from probe.report.search.summary import counts_text, end_text, importance_text, search_summary, ties_text
from probe.report.search.tables import best_table, choices_table, rungs_table, space_table, spent_table, trials_table
from probe.report.shared.diagnosis_text import diagnosis_block
from probe.report.shared.markdown import (
    CURVES_CAPTION,
    IN_SETTINGS,
    answer_block,
    code,
    escape,
    fenced,
    link,
    loading_text,
    plot_block,
    reproduce_blocks,
    result_page,
    settings_block,
    summary_blocks,
)
from probe.report.shared.wording import file_name, objective_text, plural, sentence, test_trust
from probe.search.records.search import SearchResult
from probe.search.schedulers.fidelity import rung_names
from probe.units import format_count

HISTORY_PLOT = "history.png"
WINNER_PLOT = "learning_curves.png"
ALL_CURVES_PLOT = "all_learning_curves.png"
IMPORTANCE_PLOT = "importance.png"
PARALLEL_PLOT = "parallel_coordinates.png"
BATCH_PREFIX = "batch_"

_TIES_NOTE = (
    "The order among tied trials is not established. The interval is that of one score, not of a difference: trials are scored "
    "on the same samples, so a paired test could separate some of them, but it needs each sample's result, which is not stored."
)
_IMPORTANCE_NOTE = (
    "Importance is the fraction of the variation of the trials' ranks after the first rung that a hyperparameter explains "
    "beyond chance. Hyperparameters without one do not stand out in a permutation test with a false-alarm probability of 5 % "
    "over all of them."
)
_PARTIAL_IMPORTANCE_NOTE = (
    "A hyperparameter that only some trials have is tested among these, after the effect of its condition is removed. Its "
    "fraction is of their variation alone: it tells how important that hyperparameter is where it exists, and does not add up "
    "with the others."
)
_HISTORY_CAPTION = "Value of every trial at the epochs spent so far; the line is the best value so far."
_IMPORTANCE_CAPTION = (
    "Fraction of the variation that each hyperparameter explains beyond chance, among the trials that have it."
)
_PARALLEL_CAPTION = (
    "Parallel coordinates: each line is a trial, which crosses the axes at its hyperparameters and its {objective}, better "
    "values at the top; the thick line with dots is the best trial."
)
_PARTIAL = {
    "interrupted": "the search was interrupted before its budget was spent.",
    "failures": "the search stopped because too many trials failed.",
}


def search_page(result: SearchResult, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that were drawn."""
    choices = choices_table(result)
    blocks = [
        *summary_blocks(search_summary(result), without=("Best", *IN_SETTINGS, "Cost")),
        _trust_text(result),
        best_table(result),
        settings_block(result.meta, _settings(result)),
        *_winner_blocks(result, plots),
        *_history_blocks(result, plots),
        *refinement_blocks(result),
        *_probe_blocks(result, plots),
        *([] if choices is None else ["### Choices compared", choices]),
        "### Space",
        space_table(result),
        "### Trials",
        trials_table(result),
        "## Cost",
        spent_table(result),
        rungs_table(result),
        slots_line(result),
        *cluster_blocks(result),
        *reproduce_blocks(result.meta, result.recipe),
    ]
    title = f"Search: {escape(result.name)}"
    return result_page(title, result.meta, blocks, partial=_PARTIAL.get(result.stopped_by))


def _trust_text(result: SearchResult) -> str | None:
    """How far the test score and the order of the trials can be trusted."""
    if result.best is None:
        return None
    texts = ["The best value is not scored on test data: a test split, read once at the end, would show its optimism."]
    if result.test is not None:
        texts = [f"The validation value is optimistic, because it was selected; {test_trust(result.test)}"]
    if ties_text(result) is None and len(result.trials) > 1:
        objective = escape(objective_text(result.metric))
        texts.append(
            f"Which other trials tie with the best one is not known, because the variation of the {objective} between samples "
            "is not stored."
        )
    elif ties(result):
        texts.append(_TIES_NOTE)
    return " ".join(texts)


def _settings(result: SearchResult) -> list[tuple[str, str]]:
    joint = "," if result.scheduler_reason is None else ";"
    ranked = f"{joint} ranked {rung_names(result.rung_unit, result.rungs)}" if result.rungs else ""
    folds = [("validation", f"means over {result.num_folds} folds, ± their standard deviation")]
    return [
        ("recipe", escape(result.name)),
        ("task", escape(result.task)),
        ("objective", escape(f"{objective_text(result.metric)}, {result.mode}")),
        *(folds if result.num_folds > 1 else []),
        ("sampler", escape(result.sampler_reason or result.sampler)),
        ("scheduler", escape((result.scheduler_reason or result.scheduler) + ranked)),
        ("workers", str(result.num_workers)),
    ]


def _winner_blocks(result: SearchResult, plots: Sequence[str]) -> list[str | None]:
    """The best trial: its curves, their diagnosis, regularization, the final training, and its recipe."""
    has_heading = result.final is not None and result.diagnosis is not None
    return [
        "## Best trial" if result.best is not None else None,
        plot_block(plots, WINNER_PLOT, CURVES_CAPTION),
        winner_text(result),
        *([] if result.diagnosis is None else diagnosis_block(result.diagnosis)),
        *regularization_blocks(result),
        "### Final training" if has_heading else None,
        _final_text(result),
        *_reuse_blocks(result),
    ]


def _final_text(result: SearchResult) -> str | None:
    final = result.final
    if final is None:
        return None
    text = (
        "Final training: the configuration of the best trial was trained again on training and validation data together for "
        f"{plural(final.epochs, 'epoch')}, seed {final.seed}. It has no validation curve, because it has seen that data."
    )
    if final.weights_file is not None:
        file = final.weights_file
        text += f" Its weights are in {link(file)}; load them with {loading_text(file)}."
    if final.weights is not None and result.best is not None and result.best.params.get("l1"):
        text += f" {zero_text(final.weights)}."
    return text


def _reuse_blocks(result: SearchResult) -> list[str]:
    """The recipe of the best trial; nothing without one."""
    from probe.report.search.best_recipe import BEST_FILE, best_body  # imports pydantic

    recipe = best_body(result)
    if recipe is None:
        return []
    text = (
        f"{link(BEST_FILE)} is the recipe of the best trial: {code(f'probe train {BEST_FILE}')} trains it on the "
        f"training split with curves on the validation split, or with {code('--all-data')} on both, like the final training."
    )
    return ["### Use it", text, fenced(recipe, "toml")]


def _history_blocks(result: SearchResult, plots: Sequence[str]) -> list[str | None]:
    """How the search went: its trials over time, their curves, and which hyperparameters matter."""
    objective = objective_text(result.metric)
    trials = f"{plural(len(result.trials), 'trial')}: {escape(counts_text(result))}"
    importance, found = importance_text(result), (result.importance or {}).values()
    notes = [_IMPORTANCE_NOTE] * bool(found) + [_PARTIAL_IMPORTANCE_NOTE] * any(one.is_partial for one in found)
    return [
        "## How it was found",
        f"{trials}. The search ended because {end_text(result)}.",
        loss_note(result),
        plot_block(plots, HISTORY_PLOT, _HISTORY_CAPTION),
        plot_block(plots, ALL_CURVES_PLOT, f"Learning curves ({objective}) of all trials; the best trial is bold."),
        None if importance is None else " ".join([escape(sentence(importance)), *notes]),
        plot_block(plots, IMPORTANCE_PLOT, _IMPORTANCE_CAPTION),
        plot_block(plots, PARALLEL_PLOT, _PARALLEL_CAPTION.format(objective=objective)),
    ]


def _probe_blocks(result: SearchResult, plots: Sequence[str]) -> list[str | None]:
    """The answers of the batch probe and of the range tests that set ranges of the space."""
    blocks: list[str | None] = []
    if result.batch_probe is not None:
        limit = limit_text(result.batch_probe)
        blocks += ["### Batch probe", answer_block(batch_summary(result.batch_probe))]
        blocks += batch_plot_blocks(plots, BATCH_PREFIX)
        blocks += [None if limit is None else escape(limit), attempts_table(result.batch_probe.attempts)]
    if result.lr_probes:
        blocks.append("### Learning-rate probe" + ("s" if len(result.lr_probes) > 1 else ""))
    for probe, file in zip(result.lr_probes.values(), lr_plot_files(result), strict=True):
        what = f"For {escape(probe.optimizer)} at batch size {format_count(probe.batch_size)}:"
        shown = ("", "Task", "Device", "Evidence", "Note", "Next", "Cost")
        blocks += [what, *summary_blocks(lr_summary(probe), without=shown), plot_block(plots, file, lr_caption(probe))]
    return blocks


def lr_plot_files(result: SearchResult) -> list[str]:
    """One file name for each range test, in their order: `lr.png`, or `lr_sgd.png`, `lr_adam.png`."""
    files: list[str] = []
    for optimizer in result.lr_probes:
        name = f"lr_{file_name(optimizer)}" if optimizer else "lr"
        files.append(f"{name}.png" if f"{name}.png" not in files else f"{name}_{len(files)}.png")
    return files
