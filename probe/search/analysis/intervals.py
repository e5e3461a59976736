"""How well a score is known: 95 % intervals from what is stored of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from probe.search.records.objective import Objective, epoch_value
from probe.search.records.search import ValueInterval
from probe.training.records import EpochReport

STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's distribution with 1, 2, ... degrees of freedom; with more, the last one is used."""


def wilson_interval(share: float, num_samples: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for a proportion (Wilson 1927): right for shares near 1 too, where the usual +- interval leaves [0, 1]."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    shrink = 1 + z * z / num_samples
    center = (share + z * z / (2 * num_samples)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / num_samples + z * z / (4 * num_samples**2))
    return max(0.0, center - half), min(1.0, center + half)


def fold_interval(mean: float, deviation: float, num_folds: int) -> tuple[float, float]:
    """Student's 95 % interval for a mean over folds with this standard deviation. Approximate, as the folds share training
    samples: no unbiased estimate of their variance exists (Bengio & Grandvalet 2004)."""
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
    """The 95 % interval of a trial's validation value. None where nothing that is stored tells it: of a loss on one
    validation part only the mean is known, not how it varies from sample to sample.

    It is the interval of one score, not that of a difference between two trials. They are scored on the same samples, so a
    paired test (McNemar 1947) would be sharper, but needs each sample's result, which is not stored. The choice of the epoch
    and of the trial is not accounted for either.

    `proportions`: metrics that are shares of samples; in k-fold validation each sample is scored once, so that `num_samples`
    is that of all folds together.
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
