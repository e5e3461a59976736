"""The gradient steps of a search: numbers, sentences, and the section of the report."""

from __future__ import annotations

from dataclasses import dataclass

from probe.report.shared.markdown import escape, text_table
from probe.report.shared.summary import Table
from probe.report.shared.wording import metric_text, plural, sentence
from probe.search.records.search import SearchResult, TrialResult
from probe.units import format_count, format_percent, format_value

_READING = (
    "A step follows the negative gradient of the validation loss, differentiated through the unrolled training of the trial it "
    "starts from. Its length is that of its largest coordinate, relative to the hyperparameter's range on its own scale. All "
    "steps have the initial weights and batches of the first one, so differences come from the hyperparameters alone; the "
    "improvement is partly fitted to that seed and this validation split, neither of which the test score depends on."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementInfo:
    """The gradient steps of a search and what they improved."""

    start: TrialResult
    """The best of the sampler's trials, from which the first step was made."""
    best: TrialResult
    """The best trial of all; `start` if no step was better."""
    steps: tuple[TrialResult, ...]
    kept: frozenset[int]
    """Numbers of the steps that were better than the trial they started from."""

    @property
    def epochs(self) -> float:
        """Epochs of the budget for the trials of the steps, including their gradients."""
        return sum(trial.epochs for trial in self.steps)

    @property
    def gradient_epochs(self) -> float:
        """Epochs of the budget for the gradients alone."""
        return sum(trial.refinement.epochs for trial in self.steps if trial.refinement is not None)


def refinement_info(result: SearchResult) -> RefinementInfo | None:
    """The gradient steps of a search; None if there are none."""
    by_number = {trial.number: trial for trial in result.trials}
    steps = tuple(trial for trial in result.trials if trial.refinement is not None)
    start = by_number.get(steps[0].refinement.base) if steps and steps[0].refinement is not None else None
    if start is None or start.value is None:
        return None
    best, kept = start, set()
    for trial in steps:
        if trial.value is not None and best.value is not None and trial.value < best.value:
            best = trial
            kept.add(trial.number)
    return RefinementInfo(start=start, best=best, steps=steps, kept=frozenset(kept))


def refinement_text(info: RefinementInfo) -> str:
    """How much the validation loss fell, or that it did not."""
    count = plural(len(info.steps), "gradient step")
    cost = f"{plural(info.epochs, 'epoch')}, {format_count(info.gradient_epochs)} of them for gradients"
    before, after = info.start.value or 0.0, info.best.value or 0.0
    if not info.kept:
        return f"{count} from trial {info.start.number} did not improve the validation loss ({cost})"
    percent = f" ({format_percent((before - after) / before, decimals=0)} less)" if before > 0 else ""
    losses = f"from {metric_text('loss', before)} to {metric_text('loss', after)}{percent}"
    return (
        f"{count} from trial {info.start.number} lowered the validation loss {losses}, with trial {info.best.number}; "
        f"{plural(len(info.kept), 'step')} kept ({cost})"
    )


def step_table(info: RefinementInfo) -> Table:
    """A row for each step: the trial it started from, its length, the gradient, the result, and whether it was kept."""
    made = [(trial, trial.refinement) for trial in info.steps if trial.refinement is not None]
    names = list(dict.fromkeys(name for _, refinement in made for name in refinement.gradient))
    header = ("trial", "from", "step", *(f"d loss / d {name}" for name in names), "validation loss", "kept")
    rows = [
        (
            str(trial.number),
            str(refinement.base),
            format_percent(refinement.step, decimals=1),
            *(format_value(refinement.gradient[name]) if name in refinement.gradient else "" for name in names),
            trial.status if trial.value is None else metric_text("loss", trial.value),
            "yes" if trial.number in info.kept else "no",
        )
        for trial, refinement in made
    ]
    return Table(header=header, rows=tuple(rows))


def truncation_text(info: RefinementInfo) -> str | None:
    """A note that derivatives did not go through complete trainings; None if they did."""
    made = [trial.refinement for trial in info.steps if trial.refinement is not None]
    cut = [refinement for refinement in made if refinement.num_unrolled < refinement.num_steps]
    if not cut:
        return None
    return (
        f"Derivatives went through only the last {format_count(cut[-1].num_unrolled)} of {format_count(cut[-1].num_steps)} "
        "training steps, which favors small learning rates."
    )


def refinement_blocks(result: SearchResult) -> list[str]:
    """The section of the report; empty without gradient steps."""
    info = refinement_info(result)
    if info is None:
        return []
    truncated = truncation_text(info)
    notes = [_READING] if truncated is None else [_READING, escape(truncated)]
    return ["### Gradient steps", escape(sentence(refinement_text(info))), *notes, text_table(step_table(info))]
