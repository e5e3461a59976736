"""What a refinement by gradients came to, for the report and the terminal. Pure; plain text in its cells."""

from __future__ import annotations

from dataclasses import dataclass

from probe.report.shared.common import metric_text
from probe.search.records.search import SearchResult, TrialResult
from probe.units import format_count, format_percent, format_value


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementFacts:
    start: TrialResult
    """The best of the sampler's trials, from which the first step was made."""
    best: TrialResult
    """The best of all; `start` where no step was better."""
    steps: tuple[TrialResult, ...]
    kept: frozenset[int]
    """Numbers of those that were better than what they started from."""

    @property
    def epochs(self) -> float:
        """Of the budget: the steps' trials and their gradients."""
        return sum(trial.epochs for trial in self.steps)

    @property
    def gradient_epochs(self) -> float:
        return sum(trial.refinement.epochs for trial in self.steps if trial.refinement is not None)


def refinement_facts(result: SearchResult) -> RefinementFacts | None:
    """None where no step was made."""
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
    return RefinementFacts(start=start, best=best, steps=steps, kept=frozenset(kept))


def refinement_text(facts: RefinementFacts) -> str:
    """By how much the loss fell, or that it did not."""
    count = f"{format_count(len(facts.steps))} gradient step{'' if len(facts.steps) == 1 else 's'}"
    cost = f"{format_count(facts.epochs)} epochs, {format_count(facts.gradient_epochs)} of them for gradients"
    before, after = facts.start.value or 0.0, facts.best.value or 0.0
    if not facts.kept:
        return f"{count} from trial {facts.start.number} did not improve the validation loss ({cost})"
    share = f" ({format_percent((before - after) / before, decimals=0)} less)" if before > 0 else ""
    return (
        f"{count} from trial {facts.start.number} lowered the validation loss from {metric_text('loss', before)} to "
        f"{metric_text('loss', after)}{share}, with trial {facts.best.number}; {len(facts.kept)} were kept ({cost})"
    )


def step_rows(facts: RefinementFacts) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and a row for each step: what it started from, how long it was, the gradient there, what came of it."""
    names = list(
        dict.fromkeys(name for trial in facts.steps for name in (trial.refinement.gradient if trial.refinement else ()))
    )
    header = ("trial", "from", "step", *(f"d loss / d {name}" for name in names), "validation loss", "kept")
    rows = []
    for trial in facts.steps:
        made = trial.refinement
        if made is None:
            continue
        rows.append(
            (
                str(trial.number),
                str(made.base),
                format_percent(made.step, decimals=1),
                *(format_value(made.gradient[name]) if name in made.gradient else "" for name in names),
                trial.status if trial.value is None else metric_text("loss", trial.value),
                "yes" if trial.number in facts.kept else "no",
            )
        )
    return header, rows


def truncation_text(facts: RefinementFacts) -> str | None:
    """Where derivatives did not go through whole trainings."""
    cut = [
        t.refinement
        for t in facts.steps
        if t.refinement is not None and t.refinement.num_unrolled < t.refinement.num_steps
    ]
    if not cut:
        return None
    return (
        f"Derivatives went through the last {format_count(cut[-1].num_unrolled)} of {format_count(cut[-1].num_steps)} training "
        "steps only, which favors small learning rates."
    )
