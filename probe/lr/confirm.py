"""From short runs at constant learning rates to the best one for the whole training. Pure.

What a run at a constant learning rate has learned depends mostly on its *distance*: learning rate times steps. (Gradient
flow, which small steps follow, runs through one and the same sequence of models, lr x steps far along it; Smith & Le 2018 and
Li et al. 2019 build on the same scaling.) Two things are read from it:

- A run at a high learning rate shows early what a lower one comes to later: that the loss goes on falling, or that it
  begins to rise because the model overfits. So the loss of a run at `lr` after the whole horizon is its own last loss, times
  the change that runs at higher learning rates have seen over the distance that is still before it.
- Where a high learning rate does harm of its own, by noise or at the edge of stability, its own last loss already has it.

Distances compare under a schedule too: what counts is the mean learning rate.
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
"""Learning rates of the runs, from what the range test suggests. Short training favours high learning rates, so more of them
lie below."""
EVALUATED_SHARES = (0.25, 0.5, 1.0)
"""After these parts of a run its loss is taken, a factor of two apart: distances are compared on a log scale."""
PAIR_SHARE = 0.9
"""A loss is the mean of two, the first after this part of the steps."""
TREND_SHARE = 0.75
"""Beyond every distance that a run has seen, this much of the last trend is taken to go on: trends flatten."""
TOLERANCE = 0.005
"""The suggestion is the lowest learning rate expected to lose no more than this share of the attainable decrease."""
BAND_TOLERANCE = 0.02
"""The same for the good band. Expectations err: on tasks whose truth is known, what was expected to lose 2 % lost at most 5 %
in about four of five cases (benchmarks/lr_regret.py)."""
LN_GRID = math.log(10) / 20
"""Resolution of candidates below the slowest run, in ln(lr)."""


@dataclass(frozen=True, slots=True)
class _Track:
    """The losses of one run against ln(distance)."""

    ln_lr: float
    ln_distances: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def end(self) -> float:
        return self.ln_distances[-1]

    @property
    def has_trend(self) -> bool:
        """Whether the loss went the same way twice; where it turned, that may be noise as well as the beginning of another."""
        if len(self.losses) < 3:
            return False
        before, then, now = self.losses[-3:]
        return (then - before) * (now - then) > 0

    def loss_at(self, ln_distance: float) -> float:
        """Interpolated, and constant beyond both ends."""
        return float(np.interp(ln_distance, self.ln_distances, self.losses))


def lrs_around(lr: float, *, lowest: float, highest: float) -> tuple[float, ...]:
    """Learning rates of the runs: OFFSETS_DECADES from `lr`, moved together into the tested range; growing."""
    tested = math.log10(highest / lowest) / (OFFSETS_DECADES[-1] - OFFSETS_DECADES[0])
    offsets = [min(1.0, tested) * offset for offset in OFFSETS_DECADES]  # closer together in a narrow range
    if lr * 10 ** offsets[-1] > highest:
        lr = highest / 10 ** offsets[-1]
    if lr * 10 ** offsets[0] < lowest:
        lr = lowest / 10 ** offsets[0]
    wanted = [min(max(lr * 10**offset, lowest), highest) for offset in offsets]
    return tuple(sorted(set(wanted)))


def steps_to_evaluate(num_steps: int) -> tuple[int, ...]:
    """After which steps a run of `num_steps` is evaluated; growing, the last one is the end."""
    return tuple(sorted({step for end in _ends(num_steps) for step in _pair(end)}))


def with_expectations(confirmation: Confirmation, *, effective_steps: float) -> Confirmation:
    """With the loss that each run is expected to end at.

    `effective_steps`: steps of the whole training times the mean of its schedule.
    """
    expected = dict(_expected_at_runs(_tracks(confirmation), math.log(effective_steps)))
    runs = [replace(run, expected_loss=expected.get(math.log(run.lr))) for run in confirmation.runs]
    return replace(confirmation, runs=tuple(runs))


def suggest_confirmed(
    confirmation: Confirmation, *, effective_steps: float, lowest: float, highest: float
) -> tuple[LrSuggestion | None, list[str]]:
    """The lowest learning rate expected to be as good as the best, and the good band around it, and warnings.

    None where no run lowered the loss.

    Candidates reach below the slowest run: at a lower learning rate the whole training covers the distances that the runs
    have covered.
    """
    tracks = _tracks(confirmation)
    if not tracks:
        return None, [
            f"None of the runs lowered the loss on unseen data in {confirmation.planned_steps} steps: the suggestion is the "
            "range test's, and nothing confirms it."
        ]
    expected = _below_runs(tracks, math.log(effective_steps)) + _expected_at_runs(tracks, math.log(effective_steps))
    expected = [(ln_lr, loss) for ln_lr, loss in expected if math.log(lowest) <= ln_lr <= math.log(highest)]
    best = min(range(len(expected)), key=lambda place: expected[place][1])
    span = confirmation.initial_loss - expected[best][1]
    ln_lr, ln_low = (
        _last_within(expected[best::-1], expected[best][1] + share * span) for share in (TOLERANCE, BAND_TOLERANCE)
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
    """Where the best lies at an end of what was tried, it may lie beyond; not where higher ones were tried and blew up."""
    if best == len(expected) - 1 and not tried_higher:
        highest = format_lr(math.exp(expected[best][0]))
        if one_lower_is_as_good:
            return [
                f"No run found the upper end of the good learning rates: the highest one tried ({highest}) is still good."
            ]
        return [f"The highest learning rate tried ({highest}) is the best: higher ones may be better still."]
    if best == 0:
        return [
            f"The lowest learning rate that could be judged ({format_lr(math.exp(expected[0][0]))}) is the best: lower ones "
            "may be better still; confirm with longer runs."
        ]
    return []


def _tracks(confirmation: Confirmation) -> list[_Track]:
    """The runs that were finished and ended below the initial loss, in growing order of their learning rates.

    Those above the first that blew up are left out with it: beyond the edge of stability nothing is to be learned.
    """
    tracks: list[_Track] = []
    for run in confirmation.runs:
        track = _track(run)
        if track is not None and track.losses[-1] < confirmation.initial_loss:
            tracks.append(track)
        elif tracks:
            break
    return tracks


def _track(run: ConfirmRun) -> _Track | None:
    """Means of the pairs of evaluations; None where the run did not get to its end."""
    if not run.finished or not run.evaluations:
        return None
    loss_after = {taken.step: taken.loss for taken in run.evaluations}
    ends = _ends(run.num_steps)
    losses = [fmean(loss_after[step] for step in _pair(end)) for end in ends]
    ln_lr = math.log(run.lr)
    return _Track(ln_lr, tuple(ln_lr + math.log(end) for end in ends), tuple(losses))


def _ends(num_steps: int) -> list[int]:
    """The steps that losses are taken for."""
    return sorted({max(1, round(share * num_steps)) for share in EVALUATED_SHARES})


def _pair(end: int) -> tuple[int, int]:
    return max(1, round(PAIR_SHARE * end)), end


def _expected_at_runs(tracks: Sequence[_Track], ln_effective_steps: float) -> list[tuple[float, float]]:
    """(ln(lr), expected loss at the end of training) of every track."""
    return [
        (track.ln_lr, _carried(tracks[place:], track.end, track.losses[-1], track.ln_lr + ln_effective_steps))
        for place, track in enumerate(tracks)
    ]


def _below_runs(tracks: Sequence[_Track], ln_effective_steps: float) -> list[tuple[float, float]]:
    """(ln(lr), expected loss at the end of training) of learning rates below the slowest track, as far down as it tells."""
    slowest = tracks[0]
    expected = []
    lowest = slowest.ln_distances[0] - ln_effective_steps
    for number in range(math.ceil((slowest.ln_lr - lowest) / LN_GRID)):
        ln_lr = lowest + number * LN_GRID
        distance = ln_lr + ln_effective_steps
        inside = distance <= slowest.end
        loss = slowest.loss_at(distance) if inside else _carried(tracks, slowest.end, slowest.losses[-1], distance)
        expected.append((ln_lr, loss))
    return expected


def _carried(tracks: Sequence[_Track], start: float, loss: float, end: float) -> float:
    """`loss` of the first track at ln(distance) `start`, carried on to `end` by what the tracks above it went through."""
    seen = tracks[0]
    for track in tracks[1:]:
        if start >= end:
            return loss
        seen = track
        reached = min(end, track.end)
        if reached > start:
            loss = _changed(loss, track.loss_at(start), track.loss_at(reached))
            start = reached
    if start >= end or not seen.has_trend:
        return loss
    trends = (end - start) / (seen.ln_distances[-1] - seen.ln_distances[-2])
    return _changed(loss, seen.losses[-2], seen.losses[-1], weight=TREND_SHARE * trends)


def _changed(loss: float, before: float, after: float, weight: float = 1.0) -> float:
    """`loss` after a change like that from `before` to `after`: in proportion, or by as much where signs differ."""
    if before > 0 and after > 0 and loss > 0:
        return loss * math.exp(weight * math.log(after / before))
    return loss + (after - before) * weight


def _last_within(expected: Sequence[tuple[float, float]], limit: float) -> float:
    """How far from the first of `expected` the loss stays within `limit`, as ln(lr), interpolated."""
    for (ln_lr, loss), (next_ln_lr, next_loss) in pairwise(expected):
        if next_loss > limit:
            share = (limit - loss) / (next_loss - loss)
            return ln_lr + min(1.0, max(0.0, share)) * (next_ln_lr - ln_lr)
    return expected[-1][0]
