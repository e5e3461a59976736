"""The summary of a search, and the sentences it is made of. Plain text."""

from __future__ import annotations

from probe.report.batch.sentences import limit_text
from probe.report.search.figures import by_importance, failures, status_counts, ties, value_spread, winner
from probe.report.search.refinement import refinement_info, refinement_text
from probe.report.shared.diagnosis_text import diagnosis_line
from probe.report.shared.summary import Line, Summary, labelled
from probe.report.shared.wording import (
    MAX_MESSAGE,
    baseline_text,
    interval_text,
    metric_text,
    objective_text,
    plural,
    score_text,
    shorten,
    test_note,
)
from probe.search.records.search import MIN_COMPARED_TRIALS, Importance, SearchResult
from probe.units import format_count, format_percent, format_seconds, format_value

MAX_REASONS = 3
"""Reasons for failed trials in a summary; trials.csv has all of them."""
_LINE_WIDTH = 64

_ENDS = {
    "trials": "the budget of trials was used up",
    "epochs": "the budget of epochs was used up",
    "time": "the budget of time was used up",
    "refined": "gradient steps gave no further improvement",
    "failures": "too many trials failed",
    "interrupted": "it was interrupted",
}


def search_summary(result: SearchResult) -> Summary:
    """The best configuration, its scores, what they are based on, and what to do without one."""
    lines: list[Line] = []
    if result.best is not None:
        settings = [f"{name} = {format_value(value)}" for name, value in result.best.params.items()]
        lines += labelled("Best", _joined(settings))
    lines += labelled("Test", _test_texts(result))
    lines += [("Task", result.task), ("Device", f"{result.meta.device}, {plural(result.num_workers, 'worker')}")]
    lines += labelled("Evidence", _evidence(result))
    lines += labelled("Failed", _failure_texts(result))
    limit = None if result.batch_probe is None else limit_text(result.batch_probe)
    lines += labelled("Warning", [*result.warnings, limit])
    if result.best is None:
        lines.append(("Next", _what_to_try(result)))
    lines.append(("Cost", _cost_text(result)))
    return Summary(answer=_answer(result), lines=tuple(lines))


def _answer(result: SearchResult) -> str:
    best, won = result.best, winner(result)
    if best is None or won is None:
        return "no trial was completed, so there is no best configuration"
    spread, value = value_spread(result, won), metric_text(result.metric, best.value)
    folds = ""
    if spread is not None:
        folds = f", standard deviation {metric_text(result.metric, spread)} over {result.num_folds} folds"
    found = f"best {objective_text(result.metric)} {value} (trial {best.number}{folds})"
    if result.test is None:
        return found
    return f"{found}, test {result.test.metric} {metric_text(result.test.metric, result.test.value)}"


def _test_texts(result: SearchResult) -> list[str | None]:
    test = result.test
    if test is None:
        return []
    comma = "" if test.is_untouched else ","
    final = ""
    if result.final is not None:
        final = f", after a final training of {plural(result.final.epochs, 'epoch')} on train + validation"
    return [f"{score_text(test)}{comma} {test_note(test)}{final}", baseline_text(test, result.mode)]


def _what_to_try(result: SearchResult) -> str:
    if not result.trials:
        return "a larger budget: no trial was started"
    return (
        "see the status and message of each trial; try a larger budget if trials were cut off, a smaller learning rate if "
        "they diverged, a smaller batch size or model if they ran out of memory"
    )


def _evidence(result: SearchResult) -> list[str | None]:
    refined, chosen, diagnosis = refinement_info(result), optimism_text(result), result.diagnosis
    is_chosen = result.best is not None and chosen is not None
    return [
        f"{plural(len(result.trials), 'trial')}: {counts_text(result)}" if result.trials else "no trial was started",
        None if refined is None else refinement_text(refined),
        f"the {objective_text(result.metric)} is {chosen}, and therefore optimistic" if is_chosen else None,
        ties_text(result),
        importance_text(result),
        None if diagnosis is None else f"learning curves of the best trial: {diagnosis_line(diagnosis)}",
        None if result.sampler_reason is None else f"sampler: {result.sampler_reason}",
        None if result.scheduler_reason is None else f"scheduler: {result.scheduler_reason}",
    ]


def counts_text(result: SearchResult) -> str:
    """`17 complete, 20 stopped, 3 diverged`."""
    return ", ".join(f"{count} {status}" for status, count in status_counts(result).items()) or "no trial"


def _failure_texts(result: SearchResult) -> list[str]:
    """One for each reason, at most MAX_REASONS."""
    found = failures(result)
    texts = [
        f"{plural(len(numbers), 'trial')}, first trial {numbers[0]}: {shorten(why, MAX_MESSAGE)}"
        for why, numbers in list(found.items())[:MAX_REASONS]
    ]
    more = len(found) - MAX_REASONS
    return texts + ([f"and for {plural(more, 'other reason')}"] if more > 0 else [])


def _cost_text(result: SearchResult) -> str:
    spent = result.spent
    probes = f" ({format_count(spent.probe_epochs)} for probes)" if spent.probe_epochs else ""
    final = f" + {plural(spent.final_epochs, 'epoch')} of final training" if spent.final_epochs else ""
    lost = f", {plural(spent.lost_epochs, 'epoch')} lost when it was stopped" if spent.lost_epochs else ""
    return (
        f"{plural(spent.trials, 'trial')}, {plural(spent.epochs, 'epoch')}{probes}{final}{lost}, "
        f"{format_seconds(spent.seconds)}; {end_text(result)}"
    )


def end_text(result: SearchResult) -> str:
    """Why the search ended. A grid over a space with ranges does not cover all of that space."""
    if result.stopped_by != "space":
        return _ENDS[result.stopped_by]
    if result.sampler == "grid":
        return "every configuration of the grid was tried"
    return "every configuration of the space was tried" if result.space else "the only configuration was tried"


def ties_text(result: SearchResult) -> str | None:
    """How many trials tie with the best one, and within which interval; None if no interval is known."""
    tied, interval = ties(result), result.best_interval
    if tied is None or interval is None or result.best is None or len(result.trials) < 2:
        return None
    samples = "" if interval.num_samples is None else f", {format_count(interval.num_samples)} validation samples"
    basis = samples if interval.rule == "wilson" else f" over {result.num_folds} folds"
    ends = interval_text(result.metric, interval.low, interval.high)
    within = f"the {ends} of its {objective_text(result.metric)}{basis}"
    if not tied:
        return f"no other complete trial ties with trial {result.best.number}: none is within {within}"
    count = "1 other complete trial ties" if len(tied) == 1 else f"{format_count(len(tied))} other complete trials tie"
    return f"{count} with trial {result.best.number}: within {within}"


def optimism_text(result: SearchResult) -> str | None:
    """What the best value was selected from, which makes it optimistic; None if it was not selected."""
    epochs = "at its best epoch" if result.reduce == "best" else "at its last epoch"
    if len(result.trials) > 1:
        return f"the best of {format_count(len(result.trials))} trials, each {epochs}"
    return "the best of the trial's epochs" if result.reduce == "best" and result.best is not None else None


def importance_value(found: Importance) -> str:
    """`52 %`, or `40 % (in the 12 of 40 trials that have it)`."""
    fraction = format_percent(found.share, decimals=0)
    if not found.is_partial:
        return fraction
    trials = f"{format_count(found.num_trials)} of {format_count(found.num_compared)} trials"
    return f"{fraction} (in the {trials} that have it)"


def importance_text(result: SearchResult) -> str | None:
    """Which hyperparameters matter most, or why that is not known; None if nothing was searched."""
    if result.importance:
        most = by_importance(result)[:3]
        return "most important: " + ", ".join(f"{name} {importance_value(found)}" for name, found in most)
    if not result.space or not result.trials:
        return None
    if result.importance is None:
        return f"too few trials to rank the hyperparameters by importance: at least {MIN_COMPARED_TRIALS} are needed"
    return "no hyperparameter stands out above chance"


def _joined(items: list[str]) -> list[str]:
    """Items separated by commas, in lines of at most _LINE_WIDTH characters unless one item is longer."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(item) + 2 <= _LINE_WIDTH:
            lines[-1] += f", {item}"
        else:
            lines.append(item)
    return lines
