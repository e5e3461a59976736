from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from probe.search.window import KEPT_BEST, KEPT_LATEST, WINDOW, kept_in_window, window_warning

SCORES = st.lists(st.none() | st.floats(0, 1), max_size=900)


@given(SCORES)
def test_the_best_and_the_latest_are_kept(scores: list[float | None]) -> None:
    finished = list(enumerate(scores))
    kept = kept_in_window(finished, "max")
    assert kept == kept_in_window([(number, None if score is None else -score) for number, score in finished], "min")
    assert kept <= set(range(len(scores)))
    assert len(kept) <= KEPT_BEST + KEPT_LATEST
    assert set(range(max(0, len(scores) - KEPT_LATEST), len(scores))) <= kept
    better = [score for number, score in finished if number in kept and score is not None]
    forgotten = [score for number, score in finished if number not in kept and score is not None]
    if forgotten:
        assert sum(score >= max(forgotten) for score in better) >= KEPT_BEST


def test_it_is_said_where_a_search_was_longer_than_the_window() -> None:
    assert window_warning("tpe", WINDOW) is None
    assert window_warning("random", 10 * WINDOW) is None
    assert "at most 1,000 of the 2,500 trials" in (window_warning("tpe", 2500) or "")
