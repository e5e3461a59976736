from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from probe.search.ladder import Mode
from probe.search.standings import standings

scores = st.lists(st.lists(st.integers(0, 9).map(float), min_size=1, max_size=4), max_size=12)
modes = st.sampled_from(["max", "min"])


def test_later_rungs_deal_out_the_places_of_those_that_reached_them() -> None:
    assert standings([[0.9], [0.8], [0.7]], mode="max") == [0.9, 0.8, 0.7]
    # Best and third reached the second rung, where the third was ahead; the second keeps its place between them.
    assert standings([[0.9, 0.91], [0.8], [0.7, 0.95]], mode="max") == [0.7, 0.8, 0.9]
    # A third rung has the last word on those that reached it.
    climbed = [[0.9, 0.91, 0.99], [0.8, 0.92, 0.98], [0.7, 0.95]]
    assert standings(climbed, mode="max") == [0.8, 0.7, 0.9]
    losses = [[1.0, 0.5], [2.0, 0.4], [3.0]]
    assert standings(losses, mode="min") == [2.0, 1.0, 3.0]
    assert standings([], mode="max") == []


@given(scores, modes)
def test_only_the_places_change_hands(found: list[list[float]], mode: Mode) -> None:
    values = standings(found, mode=mode)
    assert sorted(values) == sorted(trial[0] for trial in found)
    for trial, value in zip(found, values, strict=True):
        if all(len(other) == 1 for other in found if other is not trial):
            assert value == trial[0]


@given(scores, modes)
def test_of_two_that_reached_the_top_the_better_one_stands_no_worse(found: list[list[float]], mode: Mode) -> None:
    values = standings(found, mode=mode)
    sign = 1 if mode == "max" else -1
    top = max((len(trial) for trial in found), default=0)
    reached = [
        (sign * trial[-1], sign * value) for trial, value in zip(found, values, strict=True) if len(trial) == top
    ]
    for score, value in reached:
        assert all(value >= other_value for other_score, other_value in reached if other_score < score)
