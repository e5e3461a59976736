"""The effect of regularization: the gap between training and validation with and without it, and weights near zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from probe.report.search.figures import ranked, winner
from probe.report.shared.markdown import code, escape, table
from probe.report.shared.wording import metric_text
from probe.search.records.objective import LOSS
from probe.search.records.search import ParamValue, SearchResult, TrialResult
from probe.training.records import TrainingSummary, WeightCounts
from probe.units import format_percent, format_value

REGULARIZERS = ("l1", "l2", "weight_decay", "dropout", "label_smoothing", "augmentation")
_REGULARIZER_OPTIONS = ("decoupled", "augmentation_strength")
"""Hyperparameters of regularizers."""
NO_REGULARIZER = "none"
MAX_ROWS = 16
CHANGED_LOSSES = ("loss", "label_smoothing", "focal_gamma")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The best trial with a combination of regularizers."""

    names: tuple[str, ...]
    trial: TrialResult
    fit: TrainingSummary
    """Losses and metrics of the trial."""

    @property
    def gap(self) -> float:
        """Validation loss minus training loss."""
        return self.fit.val.loss - self.fit.train.loss

    def others(self) -> dict[str, ParamValue]:
        """The hyperparameters that do not regularize."""
        regularizing = (*REGULARIZERS, *_REGULARIZER_OPTIONS)
        return {name: value for name, value in self.trial.params.items() if name not in regularizing}

    @property
    def text(self) -> str:
        """The names of the regularizers, as Markdown."""
        return " + ".join(map(escape, self.names)) or NO_REGULARIZER


def active_regularizers(params: Mapping[str, ParamValue]) -> tuple[str, ...]:
    """The regularizers that have an effect with these values, in the order of REGULARIZERS."""
    return tuple(name for name in REGULARIZERS if params.get(name) not in (None, 0, NO_REGULARIZER))


def best_kinds(result: SearchResult) -> list[Kind]:
    """The best trial of each combination of regularizers, that without any first. Complete trials only, if there are any."""
    valued = [trial for trial in ranked(result) if trial.value is not None]
    known = [(trial, trial.summary) for trial in valued if trial.summary is not None]
    complete = [(trial, fit) for trial, fit in known if trial.status == "complete"]
    found: dict[tuple[str, ...], Kind] = {}
    for trial, fit in complete or known:
        names = active_regularizers(trial.params)
        found.setdefault(names, Kind(names=names, trial=trial, fit=fit))
    return sorted(found.values(), key=lambda kind: kind.names != ())


def regularization_blocks(result: SearchResult) -> list[str]:
    """The section that compares each combination of regularizers with none; empty if all trials have the same ones."""
    kinds = best_kinds(result)
    if len(kinds) < 2:
        return []
    bare = kinds[0] if not kinds[0].names else None
    note = (
        "The best trial of each kind, evaluated after its last epoch without dropout and augmentation; training values are "
        "measured on as many samples as the validation split has. The gap is the validation loss minus the training loss."
    )
    if len(kinds) > MAX_ROWS:
        note += f" {MAX_ROWS} of {len(kinds)} kinds are shown."
    return ["### Regularization", _gap_text(kinds, bare), note, _kinds_table(result, kinds, bare)]


def _kinds_table(result: SearchResult, kinds: Sequence[Kind], bare: Kind | None) -> str:
    has_l1 = any("l1" in kind.names for kind in kinds)
    metric = _shown_metric(result, kinds)
    header = ["regularization", "trial", "training loss", "validation loss", "gap", "gap closed"]
    header += [] if metric is None else [f"training {escape(metric)}", f"validation {escape(metric)}"]
    header += ["weights near zero", "exactly zero"] if has_l1 else []
    rows = []
    for kind in kinds[:MAX_ROWS]:
        train, val, weights = kind.fit.train, kind.fit.val, kind.fit.weights
        row = [kind.text, str(kind.trial.number), format_value(train.loss), format_value(val.loss)]
        row += [format_value(kind.gap), _closed(kind, bare)]
        if metric is not None:
            row += [metric_text(metric, part.metrics[metric]) for part in (train, val)]
        row += _zero_percents(weights) if has_l1 else []
        rows.append(row)
    return table(header, rows, right=tuple(range(1, len(header))))


def winner_text(result: SearchResult) -> str | None:
    """Losses and metrics of the best trial on the training and the validation split."""
    won = winner(result)
    if won is None or won.summary is None:
        return None
    return f"After epoch {won.summary.epoch}, without dropout and augmentation: {escape(_sides(won.summary))}."


def fit_table(fit: TrainingSummary | None, weights: WeightCounts | None) -> str | None:
    """Losses, metrics and near-zero weights of one training; None if nothing is known."""
    if fit is None and weights is None:
        return None
    rows = []
    if fit is not None:
        rows.append(["loss", *map(format_value, (fit.train.loss, fit.val.loss, fit.val.loss - fit.train.loss))])
        for name, value in fit.train.metrics.items():
            ends = (value, fit.val.metrics[name])
            rows.append([escape(name), *[metric_text(name, end) for end in ends], format_value(ends[1] - ends[0])])
    note = "After the last epoch, without dropout and augmentation, on as many training samples as validation has."
    blocks = [table(["", "training", "validation", "difference"], rows, right=(1, 2, 3)), note] if rows else []
    return "\n\n".join([*blocks, *([] if weights is None else [f"{zero_text(weights)}."])])


def zero_text(weights: WeightCounts) -> str:
    """Fractions of weights that are zero, or near zero: below a hundredth of the largest weight of their layer."""
    near, zero = _zero_percents(weights)
    return f"Weights near zero (below a hundredth of their layer's largest): {near}; exactly zero: {zero}"


def _zero_percents(weights: WeightCounts) -> list[str]:
    return [format_percent(one, decimals=1) for one in (weights.near_zero_fraction, weights.zero_fraction)]


def loss_note(result: SearchResult) -> str | None:
    """A note for trials that minimize different losses: which one their curves show, and how that affects their ranking."""
    names = {dimension.name for dimension in result.space} | result.constants.keys()
    changed = [name for name in CHANGED_LOSSES if name in names]
    is_users = ":" in result.task.partition(" on ")[0]  # in a task of the user, these names may mean anything else
    if not changed or is_users:
        return None
    note = (
        "All losses shown are values of the same function (cross-entropy or squared error), whatever a trial minimized, so"
        " they can be compared. But label smoothing and the focal loss deliberately do not minimize it"
    )
    if result.metric == LOSS:
        return f"{note}: this search ranks by the loss and thus ranks such trials lower than their accuracy deserves."
    return f"{note}: compare such trials by their {escape(result.metric)}."


def _closed(kind: Kind, bare: Kind | None) -> str:
    """The fraction of the gap that was closed; empty if there is none, or if something else may have closed it."""
    if bare is None or bare.gap <= 0 or kind is bare or kind.others() != bare.others():
        return ""
    return format_percent(1 - kind.gap / bare.gap, decimals=0)


def _gap_text(kinds: Sequence[Kind], bare: Kind | None) -> str:
    if bare is None:
        return "No trial was trained without regularization, so there is nothing to measure the gap against."
    if bare.gap <= 0:
        return "Without regularization the validation loss is not above the training loss: there is no gap to close."
    comparable = [kind for kind in kinds[1:] if kind.others() == bare.others()]
    if not comparable:
        mine, names = bare.others(), sorted({name for kind in kinds for name in kind.others()})
        differing = [name for name in names if any(kind.others().get(name) != mine.get(name) for kind in kinds)]
        return (
            f"The trial without regularization differs from those with it in {', '.join(map(code, differing))}, too, so "
            "the table cannot show what is due to regularization."
        )
    best = comparable[0]
    before, after = bare.fit.val.loss, best.fit.val.loss
    text = (
        f"**With {best.text} (trial {best.trial.number}) {_closed(best, bare)} of the gap is closed that trial "
        f"{bare.trial.number} has without regularization; the validation loss goes from {format_value(before)} to "
        f"{format_value(after)}.**"
    )
    if after >= before and best.gap < bare.gap:
        text += " The gap was closed by fitting the training data less, not by generalizing better."
    return text


def _shown_metric(result: SearchResult, kinds: Sequence[Kind]) -> str | None:
    """The metric of the objective, or the first one if the objective is the loss."""
    parts = [part for kind in kinds for part in (kind.fit.train, kind.fit.val)]
    shared = [name for name in kinds[0].fit.train.metrics if all(name in part.metrics for part in parts)]
    return result.metric if result.metric in shared else next(iter(shared), None)


def _sides(fit: TrainingSummary) -> str:
    parts = [f"loss {format_value(fit.train.loss)} in training, {format_value(fit.val.loss)} in validation"]
    for name, value in fit.train.metrics.items():
        parts.append(f"{name} {metric_text(name, value)} and {metric_text(name, fit.val.metrics[name])}")
    return "; ".join(parts)
