"""Synthetic curves of range tests."""

from __future__ import annotations

import math

import numpy as np

from probe.lr.curve import points_of, ramp
from probe.lr.records import CurveEnd, LrCurve

NUM_STEPS = 300
LRS = ramp(1e-5, 10.0, NUM_STEPS)


def curve_of(losses: list[float], ended_by: CurveEnd = "finished", seed: int = 0) -> LrCurve:
    return LrCurve(seed=seed, points=points_of(LRS[: len(losses)], losses, NUM_STEPS), ended_by=ended_by)


def falling(center: float, width: float = 0.4, noise: float = 0.0, seed: int = 0) -> list[float]:
    """Losses that fall from 2.3 to 0.3 around lr = `center`, over `width` powers of ten to either side, and then diverge."""
    rng = np.random.default_rng(seed)
    losses = []
    for lr in LRS:
        distance = math.log10(lr / center)
        loss = 0.3 + 2 / (1 + math.exp(4 * distance / width))
        losses.append(loss + max(0.0, distance - 1) * 20 + noise * float(rng.standard_normal()))
    return losses
