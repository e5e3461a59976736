"""95 % confidence intervals of scores, from stored reports. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from probe.search.records.objective import Objective, epoch_value
from probe.search.records.search import ValueInterval
from probe.training.records import EpochReport

STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's distribution with 1, 2, ... degrees of freedom. The last one is used for more."""


def wilson_interval(proportion: float, num_samples: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (Wilson 1927), which is accurate near 0 and 1, where the usual
    normal interval leaves [0, 1]."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    # Solve (p_observed - p)^2 = z^2 p (1 - p) / n for the true proportion p.
    shrink = 1 + z * z / num_samples
    center = (proportion + z * z / (2 * num_samples)) / shrink
    half = z / shrink * math.sqrt(proportion * (1 - proportion) / num_samples + z * z / (4 * num_samples**2))
    return max(0.0, center - half), min(1.0, center + half)


def fold_interval(mean: float, deviation: float, num_folds: int) -> tuple[float, float]:
    """Return Student's 95 % interval of a mean over folds with this standard deviation. It is approximate: folds share
    training samples, so their variance has no unbiased estimate (Bengio & Grandvalet 2004)."""
    half = STUDENT[min(num_folds - 1, len(STUDENT)) - 1] * deviation / math.sqrt(num_folds)
    return mean - half, mean + half


def value_interval(
    objective: Objective,
    value: float,
    reports: Sequence[EpochReport],
    *,
    proportions: Sequence[str],
    num_samples: int | None,
    num_folds: int,
) -> ValueInterval | None:
    """Return the 95 % interval of a trial's validation value; None if the reports of its epochs do not determine one:
    of a loss on one split only the mean is known, not its variance.

    It is the interval of one score, not of a difference between two trials. Trials are scored on the same samples, so a
    paired test (McNemar 1947) would be more powerful, but needs the result of each sample, which is not stored. The
    selection of the epoch and of the trial is not accounted for. `proportions` are metrics that are proportions of
    samples; each of the `num_samples` of all folds together is scored once.
    """
    if objective.metric in proportions and num_samples and 0 <= value <= 1:
        low, high = wilson_interval(value, num_samples)
        return ValueInterval(low=low, high=high, rule="wilson", num_samples=num_samples)
    if num_folds < 2:
        return None
    for report in reports:
        spread = (report.metric_spread or {}).get(objective.metric)
        if spread is not None and epoch_value(objective, report) == value:
            low, high = fold_interval(value, spread, num_folds)
            return ValueInterval(low=low, high=high, rule="folds", num_samples=num_samples)
    return None
