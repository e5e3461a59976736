"""Records of a search refuse contradictions; measurements of a trial's jobs add up."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import cluster_use, node, plain_search_result, search_comparison, search_result, trial
from record_strategies import readings

from probe.search.records.cluster import SlotUse
from probe.search.records.measurements import NOTHING_MEASURED, Measurements
from probe.search.records.search import BestTrial, Importance, Score, TrialResult


def made(status: str) -> TrialResult:
    draw = random.Random(1)
    return next(one for one in (trial(number, draw) for number in range(40)) if one.status == status)


@pytest.mark.parametrize(
    ("status", "changes", "said"),
    [
        ("complete", {"value": None}, "status complete"),
        ("stopped", {"value": None}, "status stopped"),
        ("oom", {"value": 0.5}, "status oom"),
        ("complete", {"value": math.nan}, "must be finite"),
        ("stopped", {"value": math.inf}, "must be finite"),
    ],
)
def test_a_trial_has_a_finite_value_if_its_status_allows_one(status: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(made(status), **changes)


def test_only_a_trial_that_ran_out_of_time_may_have_a_value_or_not() -> None:
    assert [replace(made("complete"), status="timeout", value=value).value for value in (0.5, None)] == [0.5, None]


def test_the_best_is_one_of_the_trials_with_its_value() -> None:
    result = search_result()
    assert result.best is not None
    unvalued = next(one.number for one in result.trials if one.value is None)
    for best in (
        replace(result.best, value=result.best.value / 2), replace(result.best, number=999),
        BestTrial(number=unvalued, params={}, value=0.5),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"best is trial {best.number}"):
            replace(result, best=best)
    assert plain_search_result().best is None


def test_every_rung_has_a_cost_or_none_has() -> None:
    assert search_result(rung_costs=(1, 2, 6, 18)).rung_costs == (1, 2, 6, 18)
    with pytest.raises(ValueError, match="4 rungs cannot have 2 costs"):
        search_result(rung_costs=(1, 2))


def test_a_compared_run_has_a_curve_if_it_has_a_value() -> None:
    run = search_comparison().runs[0]
    for changes in ({"value": None}, {"curve": ()}):
        with pytest.raises(ValueError, match="if and only if it has a value"):
            replace(run, **changes)


@pytest.mark.parametrize(("num_shared", "earlier_reads", "untouched"), [(0, 0, True), (1, 0, False), (0, 1, False)])
def test_a_test_split_is_touched_by_shared_samples_and_by_earlier_reads(
    num_shared: int, earlier_reads: int, untouched: bool
) -> None:
    score = Score(
        metric="accuracy",
        value=0.9,
        low=None,
        high=None,
        num_samples=9,
        num_shared=num_shared,
        earlier_reads=earlier_reads,
    )
    assert score.is_untouched == untouched


def test_an_importance_is_partial_if_some_trials_do_not_have_the_hyperparameter() -> None:
    assert [Importance(share=0.5, num_trials=number, num_compared=90).is_partial for number in (45, 90)] == [
        True,
        False,
    ]


job_measurements = st.builds(Measurements, seconds=st.integers(0, 1000).map(float), memory=st.none() | readings())


@given(st.lists(job_measurements, max_size=5))
def test_a_trial_takes_the_time_of_all_of_its_jobs_and_the_memory_of_the_largest(jobs: list[Measurements]) -> None:
    whole = NOTHING_MEASURED
    for job in jobs:
        whole = whole.then(job)
    assert whole.seconds == sum(job.seconds for job in jobs)
    peaks = [job.memory.peak_reserved_bytes for job in jobs if job.memory is not None]
    assert (whole.memory.peak_reserved_bytes if whole.memory else None) == max(peaks, default=None)
    assert Measurements(**whole.measured()) == whole


@pytest.mark.parametrize("utilization", [-0.1, 1.1])
def test_slots_are_used_between_not_at_all_and_always(utilization: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        SlotUse(num_slots=2, num_nodes=None, utilization=utilization, num_retries=0)


def test_a_lost_node_is_named_by_its_id_or_its_name_and_joined_nodes_hide_the_utilization() -> None:
    use = SlotUse(num_slots=16, num_nodes=None, utilization=0.9, num_retries=0)
    whole = cluster_use()
    assert (whole.num_alive, whole.described(use)) == (3, replace(use, num_nodes=3))
    lost = cluster_use(lost_nodes=(node(1).node_id, "gpu-02"))
    assert [lost.is_lost(one) for one in lost.nodes] == [True, True, False]
    joined = cluster_use(joined_nodes=(node(2).node_id,))
    assert joined.described(use) == replace(use, num_nodes=3, utilization=None)
