"""Scores in the units that a Gaussian process expects. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]
FENCE = 3.0
"""Interquartile ranges below the first quartile, where Tukey's outer fence stands (Tukey 1977, Exploratory Data
Analysis)."""


def standardized(scores: Numbers) -> Numbers:
    """Scores, larger is better, with mean 0 and variance 1; zeros where all are equal.

    Scores that are all negative are losses to minimize: their logarithms are taken, as a loss that is halved counts for
    as much from 0.02 as from 2. A score below the outer fence counts as one on the fence: by how much a configuration
    fails says nothing about where the best ones are, and a single loss of 1e30 would make all others look alike.
    """
    if (scores < 0).all():
        scores = -np.log(-scores)
    # In units of the largest, so that differences and squares of huge scores do not overflow.
    scaled = scores / max(float(np.abs(scores).max()), np.finfo(float).tiny)
    first, third = np.quantile(scaled, [0.25, 0.75])
    if third > first:
        scaled = np.maximum(scaled, first - FENCE * (third - first))
    deviation = float(scaled.std())
    if deviation <= 1e-12:
        return np.zeros_like(scores)
    result: Numbers = (scaled - scaled.mean()) / deviation
    return result
