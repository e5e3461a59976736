"""The summary of a learning-rate probe and of several compared, and the sentences and rows it is made of. Plain text."""

from __future__ import annotations

from probe.lr.confirm import BAND_TOLERANCE
from probe.lr.records import Confirmation, ConfirmRun, LrComparison, LrCurve, LrResult
from probe.lr.suggest import passes_factor, suggest
from probe.report.shared.summary import Line, Summary, Table, labelled
from probe.report.shared.wording import NONE, plural
from probe.units import format_count, format_lr, format_percent, format_seconds, format_value

CURVE_ENDS = {
    "diverged": "the loss diverged",
    "non_finite": "the loss was no longer finite",
    "interrupted": "interrupted",
}
_SQUARE_ROOT_SCALED = ("adam", "adamw", "nadam", "radam", "adamax", "rmsprop", "adagrad")


def lr_summary(result: LrResult) -> Summary:
    """The suggestion, what it is based on, and what to do without one."""
    lr_schedule = f", {result.lr_schedule} schedule" if result.lr_schedule != "constant" else ""
    batch = f"batch {format_count(result.batch_size)}{lr_schedule}"
    task = f"{result.task}, {result.optimizer}, {result.precision}, {batch}"
    lines: list[Line] = labelled("", [training_steps_text(result)])
    lines += [("Task", task), ("Device", result.meta.device), *labelled("Evidence", _evidence(result))]
    if result.confirmation is not None:
        lines.append(("", run_table(result.confirmation)))
    lines += labelled("Warning", result.warnings)
    lines += labelled("Note", [scaling_text(result)]) + labelled("Next", [next_text(result)])
    lines.append(("Cost", f"{plural(result.num_steps, 'training step')}, {format_seconds(result.seconds)}"))
    return Summary(answer=answer_text(result), lines=tuple(lines))


def lr_comparison_summary(result: LrComparison) -> Summary:
    """A row for each optimizer or batch size."""
    found = sum(one.suggestion is not None for one in result.results)
    title, rows = axis_title(result), tuple(comparison_rows(result))
    table = Table(header=(title, "suggested", "good range", "steps"), rows=rows, num_left=1)
    lines: list[Line] = [("", table), ("Task", result.task), ("Device", result.meta.device)]
    warned = [(row[0], text) for row, one in zip(rows, result.results, strict=True) for text in one.warnings]
    lines += labelled("Warning", [f"{title} {name}: {text}" for name, text in warned])
    steps = sum(one.num_steps for one in result.results)
    lines.append(("Cost", f"{plural(steps, 'training step')}, {format_seconds(result.seconds)}"))
    answer = f"learning rates for {found} of {plural(len(result.results), title)}"
    return Summary(answer=answer, lines=tuple(lines))


def answer_text(result: LrResult) -> str:
    """The suggestion with its range in one sentence, without full stop."""
    found = result.suggestion
    if found is None:
        return f"no learning rate between {format_lr(result.lowest_lr)} and {format_lr(result.highest_lr)} can be suggested"
    peak = "peak learning rate" if result.lr_schedule != "constant" else "learning rate"
    return f"{peak} {format_lr(found.lr)}, good from {format_lr(found.low)} to {format_lr(found.high)}"


def next_text(result: LrResult) -> str | None:
    """What to do next; None if the answer needs no further step."""
    if result.suggestion is not None:
        if result.depth == "range_test" and result.confirmation is None:
            return "--confirm checks the suggestion on unseen data, at about twice the cost"
        return None
    if result.stopped_by == "interrupted":
        return "run it again: only a range test that runs to its end can be evaluated"
    return (
        "try another range (--from, --to), more --steps, another --batch or optimizer; a loss that falls at no learning rate "
        "usually means a bug in the model, the loss function or the data"
    )


def _evidence(result: LrResult) -> list[str | None]:
    """How the suggestion was found, each range test, and what other rules suggest."""
    method = None if result.suggestion is None else method_text(result)
    return [method, *map(curve_text, result.curves), spread_text(result), other_finders_text(result)]


def method_text(result: LrResult) -> str:
    """How the suggestion was found."""
    confirmation = result.confirmation
    if result.depth != "range_test" and confirmation is not None:
        return (
            f"{len(confirmation.runs)} runs of {format_count(confirmation.planned_steps)} steps, evaluated on "
            f"{unseen_text(confirmation)}: the lowest learning rate that should end as well as the best"
        )
    tests = "the range test" if len(result.curves) == 1 else f"the mean of {len(result.curves)} range tests"
    return f"{tests}: the learning rate at which the loss has made 90 % of its drop"


def curve_text(curve: LrCurve) -> str:
    """A range test: its range and how far the loss fell."""
    if not curve.points:
        return "no step was completed"
    first, last = curve.points[0], curve.points[-1]
    lowest = min(curve.points, key=lambda point: point.smoothed_loss)
    end = f"; {CURVE_ENDS[curve.ended_by]} at {format_lr(last.lr)}" if curve.ended_by in CURVE_ENDS else ""
    if curve.raised is not None:
        end = f"; the training raised {curve.raised.error} at {format_lr(curve.raised.lr)}"
    return (
        f"range test (seed {curve.seed}): {plural(len(curve.points), 'step')} from {format_lr(first.lr)} to "
        f"{format_lr(last.lr)}, smoothed loss from {first.smoothed_loss:.3g} down to {lowest.smoothed_loss:.3g} at "
        f"{format_lr(lowest.lr)}{end}"
    )


def unseen_text(confirmation: Confirmation) -> str:
    """The data on which the runs were evaluated."""
    is_validation = confirmation.measured_on == "validation"
    samples = "validation samples" if is_validation else "samples held out from the training data"
    return f"{format_count(confirmation.num_samples)} {samples}"


def range_text(result: LrResult) -> str:
    """What the good range means."""
    if result.depth == "range_test":
        return (
            "The good range is where the loss has made 85 % to 95 % of its drop, lowered in the same way; on tasks with known "
            "optimum its ends gave up at most 5 % of the achievable loss reduction in four of five cases."
        )
    return (
        f"Learning rates in this range should give up at most {format_percent(BAND_TOLERANCE, decimals=0)} of the achievable "
        "loss reduction; on tasks with known optimum its ends gave up at most 5 % in about four of five cases."
    )


def training_steps_text(result: LrResult) -> str | None:
    """The planned training and how it changed the suggestion; None in results of older versions."""
    if result.training_steps is None:
        return None
    assumed = " (assumed; set it with --training-steps)" if result.training_steps_assumed else ""
    length = f"for a training run of {plural(result.training_steps, 'step')}{assumed}"
    if not result.passes:
        return length
    text = f"{length}, {_passes_text(result)}"
    factor, found = passes_factor(result.passes), result.suggestion
    if result.depth == "range_test" and found is not None and factor < 1 and found.lr > result.lowest_lr:
        tested = format_lr(found.lr / factor)
        return f"{text}: so many passes overfit at the range test's {tested}, which is divided by {1 / factor:.2g}"
    return text


def _passes_text(result: LrResult) -> str:
    passes = "1 pass" if round(result.passes, 1) == 1 else f"{result.passes:.2g} passes"
    peak = " at the peak learning rate" if result.lr_schedule != "constant" else ""
    return f"{passes} over the data{peak}"


def other_finders_text(result: LrResult) -> str | None:
    """What other rules suggest, in one line; None in results of older versions."""
    rows = other_finders_rows(result)
    return "other rules on this curve: " + ", ".join(f"{name} {lr}" for name, lr in rows) if rows else None


def other_finders(result: LrResult) -> list[tuple[str, float | None]]:
    """Name and suggestion of each other rule; empty in results of older versions."""
    picks = result.other_finders
    if picks is None:
        return []
    return [("steepest", picks.steepest), ("minimum / 10", picks.minimum_tenth), ("valley", picks.valley)]


def other_finders_rows(result: LrResult) -> list[tuple[str, str]]:
    """Name of each other rule and its suggestion as text."""
    return [(name, NONE if lr is None else format_lr(lr)) for name, lr in other_finders(result)]


def spread_text(result: LrResult) -> str | None:
    """The range of the suggestions of single range tests; None if there are fewer than two."""
    lrs = single_suggestions(result)
    if len(lrs) < 2:
        return None
    return f"suggestions of the {len(lrs)} single range tests: {format_lr(min(lrs))} to {format_lr(max(lrs))}"


def single_suggestions(result: LrResult) -> list[float]:
    """The suggestion of each range test alone, without those that have none."""
    ramp, passes, lowest = result.ramp_steps, result.passes, result.lowest_lr
    found = [suggest([one], num_steps=ramp, passes=passes, lowest_lr=lowest)[0] for one in result.curves]
    return [suggestion.lr for suggestion in found if suggestion is not None]


def run_table(confirmation: Confirmation) -> Table:
    """For each run its learning rate, its last loss, and the loss expected at the end of training."""
    header = ("learning rate", f"loss after {plural(confirmation.planned_steps, 'step')}", "expected at the end")
    rows = [
        (
            format_lr(run.lr),
            format_value(run.evaluations[-1].loss) if run.finished and run.evaluations else _end_of(run),
            NONE if run.expected_loss is None else format_value(run.expected_loss),
        )
        for run in confirmation.runs
    ]
    return Table(header=header, rows=tuple(rows))


def _end_of(run: ConfirmRun) -> str:
    return "diverged" if run.raised is None else f"raised {run.raised.error}"


def scaling_text(result: LrResult) -> str | None:
    """How the suggestion changes with the batch size according to the literature; None for other optimizers."""
    if result.suggestion is None:
        return None
    if result.optimizer in ("sgd", "nesterov"):
        rule, source = "in proportion", "linear scaling, Goyal et al. 2017"
    elif result.optimizer in _SQUARE_ROOT_SCALED:
        rule, source = "with the square root", "Malladi et al. 2022"
    else:
        return None
    return f"for another batch size, scale it {rule} ({source}); --batch 32,128,512 measures it"


def comparison_rows(result: LrComparison) -> list[tuple[str, str, str, str]]:
    """For each result the optimizer or batch size, the suggestion, the good range, and the training steps used."""
    rows = []
    for one in result.results:
        found = one.suggestion
        name = one.optimizer if result.axis == "optimizer" else format_count(one.batch_size)
        lr = NONE if found is None else format_lr(found.lr)
        good = NONE if found is None else f"{format_lr(found.low)} to {format_lr(found.high)}"
        rows.append((name, lr, good, format_count(one.num_steps)))
    return rows


def axis_title(result: LrComparison) -> str:
    """What the results differ in: `optimizer` or `batch size`."""
    return result.axis.replace("_", " ")
