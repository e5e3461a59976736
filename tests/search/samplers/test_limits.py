from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from probe.search.samplers.limits import (
    KEPT_BEST,
    KEPT_LATEST,
    MIN_FORGOTTEN,
    WINDOW,
    is_full,
    kept_in_window,
    window_warning,
)

SCORES = st.lists(st.none() | st.floats(0, 1), max_size=900)


@given(SCORES)
def test_the_best_and_the_latest_are_kept(scores: list[float | None]) -> None:
    kept = kept_in_window(scores)
    assert kept == sorted(set(kept))
    assert set(kept) <= set(range(len(scores)))
    assert len(kept) <= KEPT_BEST + KEPT_LATEST
    assert set(range(max(0, len(scores) - KEPT_LATEST), len(scores))) <= set(kept)
    better = [score for number, score in enumerate(scores) if number in kept and score is not None]
    forgotten = [score for number, score in enumerate(scores) if number not in kept and score is not None]
    if forgotten:
        assert sum(score >= max(forgotten) for score in better) >= KEPT_BEST


@given(num_finished=st.integers(0, 3000), num_unfinished=st.integers(0, 3000))
def test_few_running_trials_do_not_move_the_window_and_many_do_not_make_it_forget_at_every_ask(
    num_finished: int, num_unfinished: int
) -> None:
    num_trials = num_finished + num_unfinished
    if num_unfinished <= WINDOW - KEPT_BEST - KEPT_LATEST - MIN_FORGOTTEN:
        assert is_full(num_trials, num_unfinished) == (num_trials > WINDOW)
    if is_full(num_trials, num_unfinished):
        kept = num_unfinished + min(num_finished, KEPT_BEST + KEPT_LATEST)
        assert kept <= num_trials - MIN_FORGOTTEN
        assert not is_full(kept + MIN_FORGOTTEN, num_unfinished)


def test_it_is_said_where_a_search_was_longer_than_the_window() -> None:
    assert window_warning("tpe", WINDOW) is None
    assert window_warning("random", 10 * WINDOW) is None
    assert "at most 1,000 of the 2,500 trials" in (window_warning("tpe", 2500) or "")
