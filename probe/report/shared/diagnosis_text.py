"""A diagnosis of learning curves in sentences, for the report and the terminal."""

from __future__ import annotations

from probe.diagnosis.diagnose import NOTICEABLE, UNSTABLE
from probe.diagnosis.remedies import is_held_back
from probe.report.shared.markdown import bullets, escape, prose, table
from probe.report.shared.wording import sentence
from probe.training.records import Confidence, CurveEvidence, Diagnosis, DiagnosisKind
from probe.units import format_count, format_percent, format_value

_NAMES: dict[DiagnosisKind, str] = {
    "too_few_epochs": "too few epochs to judge",
    "unstable": "unstable",
    "underfitting": "underfitting",
    "overfitting": "overfitting",
    "still_improving": "still improving",
    "plateau": "on a plateau",
    "healthy": "healthy",
}
_CONFIDENCE: dict[Confidence, str] = {"high": "clearly", "moderate": "probably", "low": "perhaps"}


def diagnosis_line(diagnosis: Diagnosis) -> str:
    """`probably overfitting: the validation loss ended 23 % above its lowest, around epoch 7`, without a full stop."""
    found = diagnosis.evidence
    if found is None:
        return f"{_NAMES[diagnosis.kind]} its curves"
    return f"{_CONFIDENCE[diagnosis.confidence]} {_NAMES[diagnosis.kind]}: {_reason(diagnosis.kind, found)}"


def diagnosis_block(diagnosis: Diagnosis) -> list[str]:
    """Markdown: the diagnosis, what to do about it, and the numbers behind it."""
    blocks = ["### Diagnosis", f"**{escape(sentence(diagnosis_line(diagnosis)))}**"]
    if diagnosis.remedies:
        head = "What to do next:" if diagnosis.kind == "healthy" else "What to try, the most promising first:"
        blocks += [head, bullets(list(map(prose, diagnosis.remedies)))]
    if diagnosis.evidence is not None:
        blocks += ["Measured on the curves:", _numbers(diagnosis.evidence)]
    return blocks


def _reason(kind: DiagnosisKind, found: CurveEvidence) -> str:
    curve = "training loss" if found.val_loss is None else "validation loss"
    recent = f"over the last {format_count(found.recent_epochs)} epochs"
    if kind == "unstable" and found.swing >= UNSTABLE:
        return f"from one epoch to the next the loss jumps by {_percent(found.swing)} of its total fall"
    if kind == "unstable":
        return f"training and validation loss have both risen since epoch {found.best_epoch}"
    if kind == "overfitting":
        return _overfitting(found)
    if kind == "still_improving":
        of_what = "" if found.progress is not None else " of its total fall"
        fell = -found.recent_change
        return f"the {curve} still fell by {_percent(fell / (1 + fell) if not of_what else fell)}{of_what} {recent}"
    flat = "is flat" if abs(found.recent_change) < NOTICEABLE else "has no trend beyond its noise"
    if found.val_loss is None:
        return f"the training loss {flat} {recent}; without a validation loss no overfitting can be seen"
    place = "below" if is_held_back(found) else "close to"
    return f"the validation loss {flat} {recent}, {place} the training loss, {_way(found)}"


def _overfitting(found: CurveEvidence) -> str:
    if (found.rise or 0.0) >= NOTICEABLE:
        train = ", while the training loss kept falling" if (found.train_change_since_best or 0.0) < 0 else ""
        lowest = f"above its lowest, around epoch {found.best_epoch}"
        return f"the validation loss ended {_percent(found.rise or 0.0)} {lowest}{train}"
    return (
        f"the validation loss settled at {format_value(found.val_loss or 0.0)}, far above the training loss of "
        f"{format_value(found.train_loss)}"
    )


def _way(found: CurveEvidence) -> str:
    """How far the run came, by the larger of the two measures, which decided the diagnosis."""
    known = [progress for progress in (found.progress, found.metric_progress) if progress is not None]
    if not known:
        return "and how far it could fall is not known"
    if max(known) <= 0:
        return f"and no lower than {_start_name(found)}"
    return f"after {_percent(max(known))} of the way from {_start_name(found)} to none"


def _start_name(found: CurveEvidence) -> str:
    if found.metric_progress is not None and (found.progress is None or found.metric_progress > found.progress):
        return "half of the answers wrong"
    return "an untrained model's loss" if found.start_is_untrained else "the first epoch's loss"


def _numbers(found: CurveEvidence) -> str:
    start = "before training" if found.start_is_untrained else "first epoch, the larger of both"
    losses = [
        (f"loss at the start ({start})", found.start_loss),
        ("training loss at the end", found.train_loss),
        ("validation loss at the end", found.val_loss),
        (f"lowest validation loss (around epoch {found.best_epoch})", found.best_val_loss),
    ]
    fractions = [
        ("rise since the lowest, relative to it", found.rise),
        (f"change over the last {found.recent_epochs} epochs, relative to the end", found.recent_change),
        ("gap between the two at the end, relative to the start", found.gap),
        ("jumps from epoch to epoch, relative to the total fall", found.swing),
        ("progress from the start to no loss", found.progress),
        ("progress from half wrong to all right", found.metric_progress),
    ]
    rows = [[name, format_value(value)] for name, value in losses if value is not None]
    rows += [[name, _percent(value)] for name, value in fractions if value is not None]
    return table([f"over {format_count(found.num_epochs)} epochs, each a mean of a few", ""], rows, right=(1,))


def _percent(fraction: float) -> str:
    """Whole percents, with a decimal below ten."""
    return format_percent(fraction, decimals=0 if abs(fraction) >= 0.0995 else 1)
