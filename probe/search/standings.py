"""How trials that climbed to different rungs compare, for a sampler that wants one number of each. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from probe.search.ladder import Mode

MAX_COMPARED = 100
"""Trials, the first ones. With more of them the first rung alone says enough, and telling a sampler anew with every climb
costs time."""


Score = TypeVar("Score", bound=float | None)


def standings(scores: Sequence[Sequence[Score]], *, mode: Mode) -> list[Score]:
    """For each trial the first-rung score of the place that it holds once all that is known has been looked at.

    `scores[i]`: of trial i at the end of each rung it reached, at least of the first. Places are those of the first rung;
    then the trials that reached the second deal out the places that they hold among themselves anew, by their scores
    there, and so on up. So scores are compared with scores after the same length of training only, as in BOHB (Falkner et
    al. 2018, https://arxiv.org/abs/1807.01774), yet no trial counts for less because it was never promoted, and the values
    keep the metric's scale. None is the score of a rung on which the objective had no value: worse than any number.
    """
    sign = 1.0 if mode == "max" else -1.0

    def goodness(trial: int, rung: int) -> float:
        score = scores[trial][rung]
        return -math.inf if score is None else sign * score

    order = sorted(range(len(scores)), key=lambda trial: goodness(trial, 0))
    values = [scores[trial][0] for trial in order]
    for rung in range(1, max(map(len, scores), default=0)):
        places = [place for place, trial in enumerate(order) if len(scores[trial]) > rung]
        climbers = sorted((order[place] for place in places), key=lambda trial: goodness(trial, rung))
        for place, trial in zip(places, climbers, strict=True):
            order[place] = trial
    result = dict(zip(order, values, strict=True))
    return [result[trial] for trial in range(len(scores))]
