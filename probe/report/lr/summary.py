"""What an LR probe says, worked out once for the report and the terminal. Pure; plain text."""

from __future__ import annotations

from probe.lr.confirm import BAND_TOLERANCE
from probe.lr.records import Confirmation, LrComparison, LrCurve, LrResult
from probe.lr.suggest import passes_factor, suggest
from probe.units import format_count, format_lr, format_percent, format_value

NONE = "-"
CURVE_ENDS = {
    "diverged": "the loss blew up",
    "non_finite": "the loss was no longer finite",
    "interrupted": "interrupted",
}
_ROOT_SCALED = ("adam", "adamw", "nadam", "radam", "adamax", "rmsprop", "adagrad")


def answer_text(result: LrResult) -> str:
    """The suggestion and its band in one sentence, without its full stop."""
    found = result.suggestion
    if found is None:
        return f"no learning rate between {format_lr(result.lowest_lr)} and {format_lr(result.highest_lr)} can be suggested"
    peak = "peak learning rate" if result.lr_schedule != "constant" else "learning rate"
    return f"{peak} {format_lr(found.lr)}, good from {format_lr(found.low)} to {format_lr(found.high)}"


def method_text(result: LrResult) -> str:
    """How the suggestion was reached."""
    confirmation = result.confirmation
    if result.depth != "range_test" and confirmation is not None:
        return (
            f"{len(confirmation.runs)} runs of {format_count(confirmation.planned_steps)} steps, read on "
            f"{unseen_text(confirmation)}: the lowest learning rate that should end as well as the best"
        )
    tests = "the range test" if len(result.curves) == 1 else f"the mean of {len(result.curves)} range tests"
    return f"{tests}: where the loss has made 90 % of its drop"


def unseen_text(confirmation: Confirmation) -> str:
    """What the runs were read on."""
    part = "validation samples" if confirmation.measured_on == "validation" else "samples held out of the training data"
    return f"{format_count(confirmation.num_samples)} {part}"


def band_text(result: LrResult) -> str:
    """What the band means."""
    if result.depth == "range_test":
        return (
            "The band reaches from 85 % to 95 % of the drop, lowered alike; on tasks whose truth is known, its ends lost at "
            "most 5 % of the attainable decrease of the loss in four of five cases"
        )
    return (
        f"Inside the band the runs let expect a loss of at most {format_percent(BAND_TOLERANCE)} of the attainable decrease; "
        "on tasks whose truth is known, its ends lost at most 5 % in about four of five cases"
    )


def training_steps_text(result: LrResult) -> str | None:
    """For how long a training the suggestion is, and what that changed; None in results of older versions."""
    if result.training_steps is None:
        return None
    length = f"{format_count(result.training_steps)} steps" + (
        " (assumed; set it with --training-steps)" if result.training_steps_assumed else ""
    )
    if not result.passes:
        return f"for a training of {length}"
    told = f"for a training of {length}, {_passes_text(result)}"
    shift = passes_factor(result.passes)
    found = result.suggestion
    if result.depth == "range_test" and found is not None and shift < 1 and found.lr > result.lowest_lr:
        tested = format_lr(found.lr / shift)
        return f"{told}: so many overfit at the range test's {tested}, which is divided by {1 / shift:.2g}"
    return told


def _passes_text(result: LrResult) -> str:
    passes = "1 pass" if round(result.passes, 1) == 1 else f"{result.passes:.2g} passes"
    peak = " at the peak learning rate" if result.lr_schedule != "constant" else ""
    return f"{passes} over the data{peak}"


def other_finders_text(result: LrResult) -> str | None:
    """The picks of other rules in one line."""
    if result.other_finders is None:
        return None
    return "other rules on this curve: " + ", ".join(f"{name} {value}" for name, value in other_finders_rows(result))


def other_finders_rows(result: LrResult) -> list[tuple[str, str]]:
    picks = result.other_finders
    if picks is None:
        return []
    named = (("steepest", picks.steepest), ("minimum / 10", picks.minimum_tenth), ("valley", picks.valley))
    return [(name, NONE if lr is None else format_lr(lr)) for name, lr in named]


def spread_text(result: LrResult) -> str | None:
    """The suggestions of single range tests, where there are several."""
    lrs = single_suggestions(result)
    if len(lrs) < 2:
        return None
    return f"{len(lrs)} range tests by themselves: {format_lr(min(lrs))} to {format_lr(max(lrs))}"


def single_suggestions(result: LrResult) -> list[float]:
    """What each range test alone would suggest, without those that suggest nothing."""
    found = [_single(result, curve) for curve in result.curves]
    return [lr for lr in found if lr is not None]


def _single(result: LrResult, curve: LrCurve) -> float | None:
    found, _ = suggest([curve], num_steps=result.ramp_steps, passes=result.passes, lowest_lr=result.lowest_lr)
    return None if found is None else found.lr


def run_rows(confirmation: Confirmation) -> list[tuple[str, str, str]]:
    """(learning rate, loss at the end of the run, loss expected at the end of training) of every run, as text."""
    return [
        (
            format_lr(run.lr),
            format_value(run.evaluations[-1].loss) if run.finished and run.evaluations else "blew up",
            NONE if run.expected_loss is None else format_value(run.expected_loss),
        )
        for run in confirmation.runs
    ]


def scaling_text(result: LrResult) -> str | None:
    """How the suggestion would change with the batch size, as the literature has it."""
    if result.suggestion is None:
        return None
    if result.optimizer in ("sgd", "nesterov"):
        rule, source = "grow or shrink in proportion", "linear scaling, Goyal et al. 2017"
    elif result.optimizer in _ROOT_SCALED:
        rule, source = "grow or shrink with its square root", "Malladi et al. 2022"
    else:
        return None
    return f"at another batch size it should {rule} ({source}); --batch 32,128,512 measures it"


def comparison_rows(result: LrComparison) -> list[tuple[str, str, str, str]]:
    """(what differs, suggestion, band, steps spent) of every result, as text."""
    rows = []
    for one in result.results:
        found = one.suggestion
        name = one.optimizer if result.axis == "optimizer" else format_count(one.batch_size)
        lr, band = (
            (NONE, NONE)
            if found is None
            else (format_lr(found.lr), f"{format_lr(found.low)} to {format_lr(found.high)}")
        )
        rows.append((name, lr, band, format_count(one.num_steps)))
    return rows


def axis_title(result: LrComparison) -> str:
    return result.axis.replace("_", " ")
