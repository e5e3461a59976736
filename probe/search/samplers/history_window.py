"""The window of earlier trials that a sampler learns from in a long search. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from probe.units import format_count

WINDOW = 1000
"""Number of trials that TPE learns from at most, besides running ones. Optuna's time for an ask grows in proportion to it; with
5,000 trials, TPE takes 48 ms."""
KEPT_BEST = 250
KEPT_LATEST = 250
MIN_FORGOTTEN = 250
"""Number of trials that are forgotten at a time: the others are then passed to Optuna again, which takes as long as dozens of
asks."""


def is_full(num_trials: int, num_unfinished: int) -> bool:
    """Whether a sampler with `num_trials` should forget some. Running trials are never forgotten, so that with hundreds of
    slots it may have more than WINDOW."""
    return num_trials > max(WINDOW, num_unfinished + KEPT_BEST + KEPT_LATEST + MIN_FORGOTTEN)


def kept_in_window(scores: Sequence[float | None]) -> list[int]:
    """Indices of the KEPT_BEST largest scores and of the KEPT_LATEST last other ones, in ascending order.

    TPE loses nothing of its model of good trials, which uses at most 25. Its model of the others becomes one of the latest.

    Args:
        scores: scores of finished trials from the earliest to the latest, larger is better; None for a trial without a score.
    """
    ranked = sorted((-score, index) for index, score in enumerate(scores) if score is not None)
    best = {index for _, index in ranked[:KEPT_BEST]}
    others = [index for index in range(len(scores)) if index not in best]
    return sorted(best | set(others[-KEPT_LATEST:]))


def window_warning(sampler: str, num_trials: int) -> str | None:
    """A warning if a search had more trials than its sampler learned from; otherwise None."""
    if sampler != "tpe" or num_trials <= WINDOW:
        return None
    return (
        f"TPE learned from at most {format_count(WINDOW)} of the {format_count(num_trials)} trials at a time, the best and the "
        "latest ones, since its time for each choice grows with their number."
    )
