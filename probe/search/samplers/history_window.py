"""What a sampler looks back on in a long search. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from probe.search.records.objective import Mode
from probe.units import format_count

FORGETTING = ("tpe",)
"""Samplers that need not see all trials of a long search. Each ask takes Optuna time in proportion to those it sees: TPE 48 ms
at 5,000."""
WINDOW = 1000
"""Trials that they see at most, but for those that run."""
KEPT_BEST = 250
KEPT_LATEST = 250
MIN_FORGOTTEN = 250
"""Trials at a time: what is kept is handed to Optuna anew then, which takes as long as dozens of asks."""


def is_full(num_trials: int, num_unfinished: int) -> bool:
    """Whether a sampler that looks back on `num_trials` should forget some. Those that run are never forgotten, so that with
    hundreds of slots there are more than WINDOW to look at."""
    return num_trials > max(WINDOW, num_unfinished + KEPT_BEST + KEPT_LATEST + MIN_FORGOTTEN)


def kept_in_window(finished: Sequence[tuple[int, float | None]], mode: Mode) -> set[int]:
    """Of finished trials (number, score or None) in the order in which they were asked for: the numbers of the best KEPT_BEST
    and of the latest KEPT_LATEST others.

    TPE's model of good trials rests on 25 at most, so that nothing is lost there; its model of the rest becomes one of the
    latest of them.
    """
    sign = -1.0 if mode == "max" else 1.0
    scored = sorted((sign * score, number) for number, score in finished if score is not None)
    best = {number for _, number in scored[:KEPT_BEST]}
    others = [number for number, _ in finished if number not in best]
    return best | set(others[-KEPT_LATEST:])


def window_warning(sampler: str, num_trials: int) -> str | None:
    """What to say of a search that was longer than what its sampler looks back on."""
    if sampler != "tpe" or num_trials <= WINDOW:
        return None
    return (
        f"TPE learned from at most {format_count(WINDOW)} of the {format_count(num_trials)} trials at a time, the best and the "
        "latest ones: the more it looks at, the longer it takes to decide."
    )
