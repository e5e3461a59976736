"""The diagnosis of a training run from its curves of loss and metric. Pure.

The criteria are those of Goodfellow, Bengio and Courville 2016, chapter 11 (a high training loss is underfitting, a validation
loss far above it overfitting) and of Smith 2018 ("A disciplined approach to neural network hyper-parameters"). Increases are
measured like in Prechelt 1998 ("Early stopping - but when?"): against the lowest validation loss so far, over strips of epochs.
Every rule compares ratios, so that the unit of the loss does not matter, and differences must exceed the noise between epochs.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import Literal

from probe.diagnosis.remedies import remedies_of
from probe.training.records import Confidence, CurveEvidence, Diagnosis, DiagnosisKind, EpochReport

MIN_EPOCHS = 6
"""Fewest epochs to diagnose. With fewer, a trend cannot be distinguished from noise."""
RECENT_FRACTION = 0.4
"""Fraction of the epochs over which a curve is judged to be flat or not."""
NOTICEABLE = 0.05
"""A loss that changes by less than this fraction of its level is flat. (Prechelt's criteria stop at 1 to 5 %; he finds that
later stopping generalizes better.)"""
NEGLIGIBLE = 0.002
"""Changes below this fraction of the start loss are ignored: a loss that doubles from 0.001 is still close to zero."""
NUM_ERRORS = 2.5
"""A change must exceed this many standard errors."""
LUCK_ERRORS = 1.5
"""The lowest of about ten strips is expected to be this many standard errors below the mean by chance."""
UNSTABLE = 0.2
"""A curve is unstable if its typical fluctuation between epochs exceeds this fraction of its total decrease."""
LEAST_FALL = 0.3
"""Fluctuation is compared with at least this fraction of the start loss, so that a loss that never fell is not called unstable
because of a little noise."""
HALF_PROGRESS = 0.5
"""A flat curve whose loss decreased by less than half of the start loss is underfitting."""
NEAR_TARGET = 0.9
"""Progress from which on a loss is near its target."""
LARGE_GAP = 0.1
"""A gap between training and validation loss above this fraction of the start loss is large."""
HALF_OF_LOSS = 0.5
"""A gap above this fraction of the validation loss means that most of that loss is due to new data."""
CHANCE_ERROR = 0.5
"""Assumed error of a metric between 0 and 1 (accuracy, F1) by chance: that of two balanced classes. With more classes it is
larger, so that the progress of the metric is not overestimated."""
MOST = 1e6
"""Largest fraction in a record. Larger ones occur only if a loss was close to zero."""
LARGEST = 1e100
"""Losses are clipped at this value, because sums over larger ones could overflow."""
CLEAR = 1.5
"""Confidence is high only if the deciding number exceeds its limit by this factor."""


@dataclass(frozen=True, slots=True)
class _Curve:
    """A curve and its running means (strips). `noise` is the standard deviation of one epoch's value around the trend."""

    values: Sequence[float]
    strips: Sequence[float]
    noise: float

    @property
    def end(self) -> float:
        return self.strips[-1]

    @property
    def width(self) -> int:
        """Number of epochs in a strip."""
        return len(self.values) - len(self.strips) + 1

    @property
    def best_strip(self) -> int:
        return min(range(len(self.strips)), key=self.strips.__getitem__)


@dataclass(frozen=True, slots=True)
class _Finding:
    kind: DiagnosisKind
    margin: float
    """Ratio of the deciding number to its limit."""
    by_level: bool = False
    """Whether the decision is based on the progress since the start."""


def diagnose(
    reports: Sequence[EpochReport],
    *,
    metric: str | None = None,
    mode: Literal["max", "min"] = "max",
    untrained_loss: float | None = None,
) -> Diagnosis:
    """Diagnose the curves of one run.

    Training losses are means over an epoch in which the model changed, with dropout and augmentation. They are therefore a
    little too high, and the gap to the validation loss a little too small.

    Args:
        reports: the epochs of the run.
        metric: name of a metric in the reports. It is used if its values are between 0 and 1 and larger is better.
        mode: whether larger ("max") or smaller ("min") values of the metric are better.
        untrained_loss: loss before the first step. Without it, the loss of the first epoch is used, which may already be much
            lower, so that the confidence is lower as well.
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
    """Smallest significant changes of this run's losses, as fractions of the level that they are compared with."""

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
    # A loss that may be negative has no level. Its decrease is used instead.
    has_level = start > 0 and min(*train.values, *judged.values) >= 0
    fall = max(start - min(judged.strips), start - train.end, LEAST_FALL * abs(start)) or 1.0
    recent = _recent_epochs(len(reports))
    change, change_error = _trend(judged, recent)
    metric_progress, has_worsened = _metric_progress(reports, metric, mode)
    scale = start if has_level else fall
    least = max(NEGLIGIBLE * scale, sys.float_info.min)  # above zero, also beside the smallest losses
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
        rise=_ratio(val.end - val.strips[best], best_level) if val else None,
        train_change_since_best=_ratio(train.end - train.strips[best], best_level) if val else None,
        recent_change=_ratio(change, level),
        gap=_ratio(val.end - train.end, scale) if val else None,
        swing=_ratio(max(_zigzag(train.values), _zigzag(judged.values)), fall),
        progress=1 - _ratio(judged.end, start) if has_level else None,
        train_progress=1 - _ratio(train.end, start) if has_level else None,
        metric_progress=metric_progress,
        metric_has_worsened=has_worsened,
    )
    strip_error = judged.noise * math.sqrt(2 / judged.width)
    return evidence, _Limits(
        rise=max(NOTICEABLE, least / best_level, (NUM_ERRORS + LUCK_ERRORS) * strip_error / best_level),
        recent=max(NOTICEABLE, least / level, NUM_ERRORS * change_error / level),
    )


def _decide(found: CurveEvidence, limits: _Limits) -> _Finding:
    """The first criterion that applies. An unstable curve shows nothing else; the level of a falling curve is not judged."""
    if found.swing >= UNSTABLE:
        return _Finding("unstable", found.swing / UNSTABLE)
    if found.rise is not None and found.rise >= limits.rise:
        # If the training loss rises as well, the steps are too large, which is not overfitting.
        together = (found.train_change_since_best or 0.0) >= found.rise / 2
        return _Finding("unstable" if together else "overfitting", found.rise / limits.rise)
    if -found.recent_change >= limits.recent:
        return _Finding("still_improving", -found.recent_change / limits.recent)
    if _is_due_to_new_data(found):
        return _Finding("overfitting", (found.gap or 0.0) / LARGE_GAP, by_level=True)
    return _by_level(found)


def _is_due_to_new_data(found: CurveEvidence) -> bool:
    """Whether the gap is large and most of the validation loss."""
    if found.gap is None or found.val_loss is None or found.gap < LARGE_GAP:
        return False
    return found.val_loss - found.train_loss >= HALF_OF_LOSS * abs(found.val_loss)


def _by_level(found: CurveEvidence) -> _Finding:
    """The diagnosis of flat curves that are close together, by their progress."""
    known = [progress for progress in (found.progress, found.metric_progress) if progress is not None]
    if not known:
        return _Finding("plateau", 1.0, by_level=True)
    progress = max(known)
    both = max(progress, found.train_progress or 0.0)
    if both < HALF_PROGRESS:
        return _Finding("underfitting", (1 - both) / (1 - HALF_PROGRESS), by_level=True)
    if progress < NEAR_TARGET or found.val_loss is None:
        return _Finding("plateau", (1 - progress) / (1 - NEAR_TARGET), by_level=True)
    return _Finding("healthy", (1 - NEAR_TARGET) / max(1 - progress, 1 / MOST), by_level=True)


def _confidence(finding: _Finding, found: CurveEvidence) -> Confidence:
    """High confidence requires a wide margin, twice MIN_EPOCHS and, if the progress decided, a measured start loss."""
    doubts = (finding.margin < CLEAR) + (found.num_epochs < 2 * MIN_EPOCHS)
    if finding.by_level and not found.start_is_untrained:
        doubts += 2 if found.metric_progress is None else 1
    if finding.kind == "overfitting" and found.metric_has_worsened is False:
        doubts += 1
    if found.val_loss is None or doubts >= 2:
        return "low"
    return "moderate" if doubts else "high"


def _curve(values: Sequence[float]) -> _Curve:
    """A curve with its running means over three epochs, or over an eighth of many."""
    width = max(3, len(values) // 8)
    strips = [fmean(values[start : start + width]) for start in range(len(values) - width + 1)]
    return _Curve(values, strips, _noise(values))


def _noise(values: Sequence[float]) -> float:
    """Standard deviation of the noise, from the median of the third differences. Third differences are nearly zero for a smooth
    curve, and the median is robust to single jumps. The median of |x| is 0.6745 standard deviations of a Gaussian, and a third
    difference has 1 + 9 + 9 + 1 = 20 times the variance."""
    thirds = [
        abs(a - 3 * b + 3 * c - d) for a, b, c, d in zip(values, values[1:], values[2:], values[3:], strict=False)
    ]
    return median(thirds) / (0.6745 * math.sqrt(20))


def _zigzag(values: Sequence[float]) -> float:
    """Root mean square over epochs of the smaller side of each turning point; 0 for a monotonic curve."""
    steps = [after - before for before, after in pairwise(values)]
    turns = [min(abs(a), abs(b)) if a * b < 0 else 0.0 for a, b in pairwise(steps)]
    return math.hypot(*turns) / math.sqrt(len(turns))


def _recent_epochs(num_epochs: int) -> int:
    return max(3, math.ceil(RECENT_FRACTION * num_epochs))


def _trend(curve: _Curve, num_epochs: int) -> tuple[float, float]:
    """Change over the last epochs along the least-squares line, and its standard error."""
    last = curve.values[-num_epochs:]
    middle = (num_epochs - 1) / 2
    spread = sum((epoch - middle) ** 2 for epoch in range(num_epochs))
    slope = sum((epoch - middle) * value for epoch, value in enumerate(last)) / spread
    return slope * (num_epochs - 1), curve.noise / math.sqrt(spread) * (num_epochs - 1)


def _cut(loss: float) -> float:
    return min(LARGEST, max(-LARGEST, loss))


def _ratio(change: float, level: float) -> float:
    """The quotient, clipped so that it is finite."""
    return min(MOST, max(-MOST, change / level))


def _metric_progress(reports: Sequence[EpochReport], metric: str | None, mode: str) -> tuple[float | None, bool | None]:
    """Progress of a metric between 0 and 1 (see CHANCE_ERROR), and whether it is worse at the end than at its best."""
    values = [_cut(report.metrics[metric]) for report in reports if metric is not None and metric in report.metrics]
    if len(values) < len(reports):
        return None, None
    # With the sign of a loss: lower is better.
    curve = _curve([-value if mode == "max" else value for value in values])
    is_fraction = mode == "max" and all(0 <= value <= 1 for value in values)
    lost = curve.end - curve.strips[curve.best_strip]
    progress = 1 - (1 + curve.end) / CHANCE_ERROR if is_fraction else None
    return progress, lost > NUM_ERRORS * curve.noise * math.sqrt(2 / curve.width)
