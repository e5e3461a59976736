"""From short runs at constant learning rates to the best one for the whole training. Pure.

What a run at a constant learning rate has learned depends mostly on its *distance*: learning rate times steps. (Gradient
flow, which small steps follow, passes through the same sequence of models and reaches lr x steps; Smith & Le 2018 and Li et
al. 2019 build on the same scaling.) This allows two conclusions:

- A run at a high learning rate shows early what a run at a lower one reaches later: that the loss keeps falling, or that it
  starts to rise because the model overfits. So the expected loss of a run at `lr` at the end of training is its own last
  loss, times the change that runs at higher learning rates measured over the remaining distance.
- If a high learning rate itself does harm, by noise or at the edge of stability, the last loss of its run includes that.

With a schedule, distances are computed with the mean learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean

import numpy as np

from probe.lr.records import Confirmation, ConfirmRun, LrSuggestion
from probe.units import format_lr

OFFSETS_DECADES = (-1.5, -1.0, -0.5, 0.0, 0.5)
"""Learning rates of the runs relative to the range test's suggestion, in powers of ten. Short training favors high learning
rates, so most runs are below the suggestion."""
EVALUATED_FRACTIONS = (0.25, 0.5, 1.0)
"""Fractions of a run after which its loss is measured; a factor of two apart, because distances are compared on a log scale."""
PAIR_FRACTION = 0.9
"""A loss is the mean of two evaluations: one at its step, and one after this fraction of the steps up to there."""
TREND_FRACTION = 0.75
"""Fraction of the last trend that continues beyond the longest measured distance; below 1, because trends flatten."""
TOLERANCE = 0.005
"""The suggestion is the lowest learning rate expected to give up at most this fraction of the achievable loss reduction."""
BAND_TOLERANCE = 0.02
"""The same for the good range. Expectations have errors: on tasks with known best learning rates, those expected to give up
2 % gave up at most 5 % in about four of five cases (benchmarks/lr_regret.py)."""
LN_GRID = math.log(10) / 20
"""Distance of candidates below the lowest run, in ln(lr)."""


@dataclass(frozen=True, slots=True)
class _Track:
    """Losses of one run as a function of ln(distance)."""

    ln_lr: float
    ln_distances: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def end(self) -> float:
        return self.ln_distances[-1]

    @property
    def has_trend(self) -> bool:
        """Whether the loss changed twice in the same direction. A single change may be noise."""
        if len(self.losses) < 3:
            return False
        first, second, third = self.losses[-3:]
        return (second - first) * (third - second) > 0

    def loss_at(self, ln_distance: float) -> float:
        """Return the loss at a distance, interpolated; constant beyond both ends."""
        return float(np.interp(ln_distance, self.ln_distances, self.losses))


def lrs_around(lr: float, *, lowest: float, highest: float) -> tuple[float, ...]:
    """Return the learning rates of the runs in increasing order: `lr` shifted by OFFSETS_DECADES, within the tested range."""
    tested = math.log10(highest / lowest) / (OFFSETS_DECADES[-1] - OFFSETS_DECADES[0])
    offsets = [min(1.0, tested) * offset for offset in OFFSETS_DECADES]  # a narrow range moves them closer together
    if lr * 10 ** offsets[-1] > highest:
        lr = highest / 10 ** offsets[-1]
    if lr * 10 ** offsets[0] < lowest:
        lr = lowest / 10 ** offsets[0]
    return tuple(sorted({min(max(lr * 10**offset, lowest), highest) for offset in offsets}))


def steps_to_evaluate(num_steps: int) -> tuple[int, ...]:
    """Return the steps after which a run is evaluated, in increasing order; the last one is `num_steps`."""
    return tuple(sorted({step for end in _ends(num_steps) for step in _pair(end)}))


def with_expectations(confirmation: Confirmation, *, effective_steps: float) -> Confirmation:
    """Add to each run the expected loss at the end of training. `effective_steps` is the sum of the schedule's factors over all
    steps."""
    expected = dict(_expected_at_runs(_tracks(confirmation), math.log(effective_steps)))
    runs = [replace(run, expected_loss=expected.get(math.log(run.lr))) for run in confirmation.runs]
    return replace(confirmation, runs=tuple(runs))


def suggest_confirmed(
    confirmation: Confirmation, *, effective_steps: float, lowest: float, highest: float
) -> tuple[LrSuggestion | None, list[str]]:
    """Return the lowest learning rate that is expected to be as good as the best one, with its good range, and warnings. The
    suggestion is None if no run lowered the loss. Candidates include learning rates below the lowest run: with these, the whole
    training covers distances that the runs have covered."""
    tracks = _tracks(confirmation)
    if not tracks:
        return None, [
            f"No run lowered the loss on unseen data in {confirmation.planned_steps} steps: the suggestion is that of the "
            "range test and is not confirmed."
        ]
    expected = _below_runs(tracks, math.log(effective_steps)) + _expected_at_runs(tracks, math.log(effective_steps))
    expected = [(ln_lr, loss) for ln_lr, loss in expected if math.log(lowest) <= ln_lr <= math.log(highest)]
    best = min(range(len(expected)), key=lambda place: expected[place][1])
    span = confirmation.initial_loss - expected[best][1]
    ln_lr, ln_low = (
        _last_within(expected[best::-1], expected[best][1] + tolerance * span)
        for tolerance in (TOLERANCE, BAND_TOLERANCE)
    )
    ln_high = _last_within(expected[best:], expected[best][1] + BAND_TOLERANCE * span)
    lr, low, high = (min(max(math.exp(value), lowest), highest) for value in (ln_lr, ln_low, ln_high))
    tried_higher = tracks[-1].ln_lr < math.log(confirmation.runs[-1].lr)
    one_lower_is_as_good = best > 0 and ln_lr <= expected[best - 1][0]
    warnings = _edge_warnings(expected, best, tried_higher=tried_higher, one_lower_is_as_good=one_lower_is_as_good)
    return LrSuggestion(lr=lr, low=min(low, lr), high=max(high, lr)), warnings


def _edge_warnings(
    expected: Sequence[tuple[float, float]], best: int, *, tried_higher: bool, one_lower_is_as_good: bool
) -> list[str]:
    """Warn if the best learning rate is the lowest or highest one tried, unless higher ones were tried and diverged."""
    if best == len(expected) - 1 and not tried_higher:
        highest = format_lr(math.exp(expected[best][0]))
        if one_lower_is_as_good:
            return [
                f"The upper end of the good learning rates is unknown: the highest one tried ({highest}) is still good."
            ]
        return [f"The highest learning rate tried ({highest}) is the best: even higher ones may be better."]
    if best == 0:
        return [
            f"The lowest learning rate with an expected loss ({format_lr(math.exp(expected[0][0]))}) is the best: even lower "
            "ones may be better; confirm with longer runs."
        ]
    return []


def _tracks(confirmation: Confirmation) -> list[_Track]:
    """Return the finished runs that ended below the initial loss, in increasing order of their learning rates. The first run
    that diverged and all above it are left out: their losses say nothing about stable training."""
    tracks: list[_Track] = []
    for run in confirmation.runs:
        track = _track(run)
        if track is not None and track.losses[-1] < confirmation.initial_loss:
            tracks.append(track)
        elif tracks:
            break
    return tracks


def _track(run: ConfirmRun) -> _Track | None:
    """Return the mean of each pair of evaluations, or None if the run was not finished."""
    if not run.finished or not run.evaluations:
        return None
    loss_after = {taken.step: taken.loss for taken in run.evaluations}
    ends = _ends(run.num_steps)
    losses = [fmean(loss_after[step] for step in _pair(end)) for end in ends]
    ln_lr = math.log(run.lr)
    return _Track(ln_lr, tuple(ln_lr + math.log(end) for end in ends), tuple(losses))


def _ends(num_steps: int) -> list[int]:
    """Return the steps at which the losses of a run count."""
    return sorted({max(1, round(fraction * num_steps)) for fraction in EVALUATED_FRACTIONS})


def _pair(end: int) -> tuple[int, int]:
    return max(1, round(PAIR_FRACTION * end)), end


def _expected_at_runs(tracks: Sequence[_Track], ln_effective_steps: float) -> list[tuple[float, float]]:
    """Return (ln(lr), expected loss at the end of training) of each track."""
    return [
        (track.ln_lr, _extrapolated(tracks[place:], track.end, track.losses[-1], track.ln_lr + ln_effective_steps))
        for place, track in enumerate(tracks)
    ]


def _below_runs(tracks: Sequence[_Track], ln_effective_steps: float) -> list[tuple[float, float]]:
    """Return (ln(lr), expected loss at the end of training) of learning rates below the lowest run, down to the one whose
    whole training covers the first distance that this run was evaluated at."""
    slowest = tracks[0]
    expected = []
    lowest = slowest.ln_distances[0] - ln_effective_steps
    for number in range(math.ceil((slowest.ln_lr - lowest) / LN_GRID)):
        ln_lr = lowest + number * LN_GRID
        distance = ln_lr + ln_effective_steps
        inside = distance <= slowest.end
        loss = slowest.loss_at(distance) if inside else _extrapolated(tracks, slowest.end, slowest.losses[-1], distance)
        expected.append((ln_lr, loss))
    return expected


def _extrapolated(tracks: Sequence[_Track], start: float, loss: float, end: float) -> float:
    """Extrapolate `loss` of the first track from ln(distance) `start` to `end` by the changes that higher tracks measured."""
    last = tracks[0]
    # Each higher learning rate has covered a longer distance: apply its change up to there, then that of the next one.
    for track in tracks[1:]:
        if start >= end:
            return loss
        last = track
        reached = min(end, track.end)
        loss = _changed(loss, track.loss_at(start), track.loss_at(reached))
        start = reached
    if start >= end or not last.has_trend:
        return loss
    # Beyond the longest distance, the last trend continues in part.
    trends = (end - start) / (last.ln_distances[-1] - last.ln_distances[-2])
    return _changed(loss, last.losses[-2], last.losses[-1], weight=TREND_FRACTION * trends)


def _changed(loss: float, before: float, after: float, weight: float = 1.0) -> float:
    """Return `loss` after a change like that from `before` to `after`: by their ratio, or by their difference if a value is
    not positive."""
    if before > 0 and after > 0 and loss > 0:
        return loss * math.exp(weight * math.log(after / before))
    return loss + (after - before) * weight


def _last_within(expected: Sequence[tuple[float, float]], limit: float) -> float:
    """Return the ln(lr) up to which the loss, from the first one on, stays within `limit`; interpolated."""
    for (ln_lr, loss), (next_ln_lr, next_loss) in pairwise(expected):
        if next_loss > limit:
            weight = (limit - loss) / (next_loss - loss)
            return ln_lr + min(1.0, max(0.0, weight)) * (next_ln_lr - ln_lr)
    return expected[-1][0]
