"""What is wrong with a training run, read off its curves of loss and metric. Pure.

The signs are those of Goodfellow, Bengio and Courville 2016, chapter 11 (a high training loss is underfitting, a validation
loss far above it overfitting) and of Smith 2018 ("A disciplined approach to neural network hyper-parameters"); rises are
measured as Prechelt 1998 ("Early stopping - but when?") does: against the lowest validation loss so far, over strips of
epochs. Every rule compares ratios, so that a loss in other units gives the same answer, and what it compares has to stand
out from the noise between neighbouring epochs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import Literal

from probe.diagnosis.remedies import remedies_of
from probe.training.records import Confidence, CurveEvidence, Diagnosis, DiagnosisKind, EpochReport

MIN_EPOCHS = 6
"""Below, a strip and the last part are one or two epochs: no line through them can be told from noise."""
RECENT_SHARE = 0.4
"""Of the epochs: the last part, which is flat or is not."""
NOTICEABLE = 0.05
"""A loss that changes by less than this share of its level is flat (Prechelt's criteria stop at 1 to 5 %, he finds the later
ones to generalize better)."""
NEGLIGIBLE = 0.002
"""Changes below this share of the start loss count for nothing: a loss of 0.001 that doubles is still next to none."""
NUM_ERRORS = 2.5
"""A change has to exceed so many standard errors."""
LUCK_ERRORS = 1.5
"""The lowest of about ten strips is so many standard errors low by luck alone."""
UNSTABLE = 0.2
"""A typical zigzag above this share of the whole fall hides in one epoch what five have learned."""
LEAST_FALL = 0.3
"""Of the start loss: a zigzag is compared with at least so much, so that a loss that never fell is not called unstable for
the little noise that is all it has."""
HALF_LEARNED = 0.5
"""Training that is flat and has made less than half of the way from the start has not learned what it could."""
NEAR_TARGET = 0.9
"""A loss that has made nine tenths of the way is near the target."""
LARGE_GAP = 0.1
"""Of the start loss: the same tenth, lost between training and validation data."""
HALF_OF_LOSS = 0.5
"""And of the validation loss: most of it is then owed to the data being new, not to what could not be fitted."""
CHANCE_ERROR = 0.5
"""How wrong a share (accuracy, F1) is taken to be by chance: as with two balanced classes. With more it is more, so that the
metric is never given too much credit."""
MOST = 1e6
"""No share is told as larger: beyond, a loss has only been close to zero."""
LARGEST = 1e100
"""Losses are cut here: sums over larger ones could overflow, and nobody needs the difference."""
CLEAR = 1.5
"""A number that passes its limit by this factor makes a diagnosis sure."""


@dataclass(frozen=True, slots=True)
class _Curve:
    """One curve, by strips. `noise` is the standard deviation of one epoch's value around the trend."""

    values: Sequence[float]
    strips: Sequence[float]
    noise: float

    @property
    def end(self) -> float:
        return self.strips[-1]

    @property
    def width(self) -> int:
        """Epochs in a strip."""
        return len(self.values) - len(self.strips) + 1

    @property
    def best_strip(self) -> int:
        return min(range(len(self.strips)), key=self.strips.__getitem__)


@dataclass(frozen=True, slots=True)
class _Finding:
    kind: DiagnosisKind
    margin: float
    """By which factor the deciding number passes its limit."""
    by_level: bool = False
    """It rests on how far the losses are from the start."""


def diagnose(
    reports: Sequence[EpochReport],
    *,
    metric: str | None = None,
    mode: Literal["max", "min"] = "max",
    untrained_loss: float | None = None,
) -> Diagnosis:
    """What the curves of one run say.

    `metric` is one of the reports' metrics and `mode` its better direction; it only helps where it is a share between 0 and 1
    that should be large. `untrained_loss` is the loss before the first step, where it is known: without it the first epoch's
    stands in, in which most may have been learned already, and whatever rests on it is told as less sure.
    Training losses are taken as reported: means over an epoch in which the model changed, with dropout and augmentation on,
    so that they come out a little high and the gap a little small.
    """
    if len(reports) < MIN_EPOCHS:
        return Diagnosis(
            kind="too_few_epochs", confidence="high", remedies=remedies_of("too_few_epochs", None), evidence=None
        )
    evidence, limits = _measure(reports, metric, mode, untrained_loss)
    finding = _decide(evidence, limits)
    return Diagnosis(
        kind=finding.kind,
        confidence=_confidence(finding, evidence),
        remedies=remedies_of(finding.kind, evidence),
        evidence=evidence,
    )


@dataclass(frozen=True, slots=True)
class _Limits:
    """From where on a change of this run's losses is one, as a share of the level that it is compared with."""

    rise: float
    recent: float


def _measure(
    reports: Sequence[EpochReport], metric: str | None, mode: str, untrained_loss: float | None
) -> tuple[CurveEvidence, _Limits]:
    train = _curve([_cut(report.train_loss) for report in reports])
    val_losses = [_cut(report.val_loss) for report in reports if report.val_loss is not None]
    val = _curve(val_losses) if len(val_losses) == len(reports) else None
    judged = val or train
    is_untrained = untrained_loss is not None and untrained_loss > 0
    start = (
        _cut(untrained_loss) if untrained_loss is not None and is_untrained else max(train.values[0], judged.values[0])
    )
    best = judged.best_strip
    # a loss that may be negative has no level to be a share of: the fall takes its place
    has_level = start > 0 and min(*train.values, *judged.values) >= 0
    fall = max(start - min(judged.strips), start - train.end, LEAST_FALL * abs(start)) or 1.0
    recent = _recent_epochs(len(reports))
    change, change_error = _trend(judged, recent)
    metric_progress, has_fallen = _metric_facts(reports, metric, mode)
    scale = start if has_level else fall
    least = NEGLIGIBLE * scale
    level = max(judged.end, least) if has_level else fall
    best_level = max(judged.strips[best], least) if has_level else fall
    evidence = CurveEvidence(
        num_epochs=len(reports),
        recent_epochs=recent,
        start_loss=start,
        start_is_untrained=is_untrained,
        train_loss=train.end,
        val_loss=val.end if val else None,
        best_val_loss=val.strips[best] if val else None,
        best_epoch=best + 1 + judged.width // 2 if val else None,
        rise=_share(val.end - val.strips[best], best_level) if val else None,
        train_change_since_best=_share(train.end - train.strips[best], best_level) if val else None,
        recent_change=_share(change, level),
        gap=_share(val.end - train.end, scale) if val else None,
        swing=_share(max(_zigzag(train.values), _zigzag(judged.values)), fall),
        progress=1 - _share(judged.end, start) if has_level else None,
        train_progress=1 - _share(train.end, start) if has_level else None,
        metric_progress=metric_progress,
        metric_has_worsened=has_fallen,
    )
    strip_error = judged.noise * math.sqrt(2 / judged.width)
    return evidence, _Limits(
        rise=max(NOTICEABLE, least / best_level, (NUM_ERRORS + LUCK_ERRORS) * strip_error / best_level),
        recent=max(NOTICEABLE, least / level, NUM_ERRORS * change_error / level),
    )


def _decide(found: CurveEvidence, limits: _Limits) -> _Finding:
    """The first sign that applies: a curve that swings says nothing else, one that still falls is not judged by its level."""
    if found.swing >= UNSTABLE:
        return _Finding("unstable", found.swing / UNSTABLE)
    if found.rise is not None and found.rise >= limits.rise:
        # where the training loss goes up as well it is no overfitting: the steps are too large
        together = (found.train_change_since_best or 0.0) >= found.rise / 2
        return _Finding("unstable" if together else "overfitting", found.rise / limits.rise)
    if -found.recent_change >= limits.recent:
        return _Finding("still_improving", -found.recent_change / limits.recent)
    if _is_owed_to_new_data(found):
        return _Finding("overfitting", (found.gap or 0.0) / LARGE_GAP, by_level=True)
    return _by_level(found)


def _is_owed_to_new_data(found: CurveEvidence) -> bool:
    """Whether most of a validation loss that is not small would not be there on the training data."""
    if found.gap is None or found.val_loss is None or found.gap < LARGE_GAP:
        return False
    return found.val_loss - found.train_loss >= HALF_OF_LOSS * abs(found.val_loss)


def _by_level(found: CurveEvidence) -> _Finding:
    """Curves that are flat and close together are told apart by how far they have come."""
    known = [share for share in (found.progress, found.metric_progress) if share is not None]
    if not known:
        return _Finding("plateau", 1.0, by_level=True)
    learned = max(known)
    both = max(learned, found.train_progress or 0.0)
    if both < HALF_LEARNED:
        return _Finding("underfitting", (1 - both) / (1 - HALF_LEARNED), by_level=True)
    if learned < NEAR_TARGET or found.val_loss is None:
        return _Finding("plateau", (1 - learned) / (1 - NEAR_TARGET), by_level=True)
    return _Finding("healthy", (1 - NEAR_TARGET) / max(1 - learned, 1 / MOST), by_level=True)


def _confidence(finding: _Finding, found: CurveEvidence) -> Confidence:
    """High needs a wide margin, twice the fewest epochs and, where the level decided, a start that was measured."""
    doubts = (finding.margin < CLEAR) + (found.num_epochs < 2 * MIN_EPOCHS)
    if finding.by_level and not found.start_is_untrained:
        doubts += 2 if found.metric_progress is None else 1
    if finding.kind == "overfitting" and found.metric_has_worsened is False:
        doubts += 1
    if found.val_loss is None or doubts >= 2:
        return "low"
    return "moderate" if doubts else "high"


def _curve(values: Sequence[float]) -> _Curve:
    """Strips are running means over three epochs, or an eighth of many."""
    width = max(3, len(values) // 8)
    strips = [fmean(values[start : start + width]) for start in range(len(values) - width + 1)]
    return _Curve(values, strips, _noise(values))


def _noise(values: Sequence[float]) -> float:
    """From third differences, which hardly see a smooth curve, however steep; their median, which a single jump does not move.

    The median of |x| is 0.6745 standard deviations of a Gaussian; a third difference has twenty times the variance.
    """
    thirds = [
        abs(a - 3 * b + 3 * c - d) for a, b, c, d in zip(values, values[1:], values[2:], values[3:], strict=False)
    ]
    return median(thirds) / (0.6745 * math.sqrt(20))


def _zigzag(values: Sequence[float]) -> float:
    """Root mean square, over the epochs, of the smaller leg of each turn: none in a curve that falls, one in one that turns."""
    steps = [after - before for before, after in pairwise(values)]
    turns = [min(abs(a), abs(b)) if a * b < 0 else 0.0 for a, b in pairwise(steps)]
    return math.hypot(*turns) / math.sqrt(len(turns))


def _recent_epochs(num_epochs: int) -> int:
    return max(3, math.ceil(RECENT_SHARE * num_epochs))


def _trend(curve: _Curve, num_epochs: int) -> tuple[float, float]:
    """Change over the last epochs along the line of least squares, and its standard error."""
    last = curve.values[-num_epochs:]
    middle = (num_epochs - 1) / 2
    spread = sum((epoch - middle) ** 2 for epoch in range(num_epochs))
    slope = sum((epoch - middle) * value for epoch, value in enumerate(last)) / spread
    return slope * (num_epochs - 1), curve.noise / math.sqrt(spread) * (num_epochs - 1)


def _cut(loss: float) -> float:
    return min(LARGEST, max(-LARGEST, loss))


def _share(change: float, level: float) -> float:
    """A quotient that a record can hold."""
    return min(MOST, max(-MOST, change / level))


def _metric_facts(reports: Sequence[EpochReport], metric: str | None, mode: str) -> tuple[float | None, bool | None]:
    """How far a metric that is a share has come from half wrong to all right, and whether it has got worse since its best."""
    values = [_cut(report.metrics[metric]) for report in reports if metric is not None and metric in report.metrics]
    if len(values) < len(reports):
        return None, None
    # as a loss, so that low is good
    curve = _curve([-value if mode == "max" else value for value in values])
    is_share = mode == "max" and all(0 <= value <= 1 for value in values)
    lost = curve.end - curve.strips[curve.best_strip]
    learned = 1 - (1 + curve.end) / CHANCE_ERROR if is_share else None
    return learned, lost > NUM_ERRORS * curve.noise * math.sqrt(2 / curve.width)
