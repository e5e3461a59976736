from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_records import attempt, batch_result, lr_curve, plain_search_result, search_result, trial
from record_strategies import search_results

from probe.report.batch.figures import best_throughput, confirmation, peak_at, smallest_failure
from probe.report.lr.page import chosen_points
from probe.report.lr.plots import loss_limits
from probe.report.search.figures import (
    failures,
    history,
    lost_epochs,
    param_names,
    ranked,
    spending_by_rung,
    status_counts,
    ties,
)
from probe.report.search.page import search_page
from probe.report.search.summary import importance_text, optimism_text, ties_text
from probe.report.search.tables import best_table, rungs_table, trials_rows
from probe.report.shared.plots import value_limits
from probe.search.records.search import Importance, SearchResult

quick = settings(deadline=None, max_examples=25)


def test_the_best_throughput_compares_short_runs_with_short_runs() -> None:
    sweep, run = attempt(32), replace(attempt(32, "confirm"), samples_per_second=1e9)
    assert best_throughput([run, sweep]) == sweep.samples_per_second
    assert best_throughput([]) == 0.0


def test_facts_of_a_sweep() -> None:
    result = batch_result()
    failure = smallest_failure(result)
    assert confirmation(result) is not None
    assert failure is not None
    assert failure.batch_size == 128
    assert peak_at(result, 64) == max(a.memory.peak_reserved_bytes for a in result.attempts if a.memory is not None)
    assert peak_at(result, None) is None


@given(search_results())
@quick
def test_ranking_and_history_hold_every_trial_once(result: SearchResult) -> None:
    sorted_trials = ranked(result)
    assert sorted(t.number for t in sorted_trials) == sorted(t.number for t in result.trials)
    values = [t.value for t in sorted_trials if t.value is not None]
    assert values == sorted(values, reverse=result.mode == "max")
    told = history(result)
    assert list(told.ends) == sorted(told.ends)
    known = [value for value in told.best if value is not None]
    assert known == sorted(known, reverse=result.mode == "min")


def test_the_history_ends_at_the_winner_and_at_the_epochs_spent() -> None:
    result = search_result()
    told = history(result)
    assert result.best is not None
    assert told.best[-1] == result.best.value
    assert told.ends[-1] == pytest.approx(result.spent.epochs)


def test_a_stopped_trial_counts_for_the_best_so_far_only_if_none_is_complete() -> None:
    draw = Random(0)
    stopped = replace(trial(1, draw), value=0.99)
    complete = replace(trial(4, draw), value=0.9)
    best = search_result(trials=(stopped, complete), best=None)
    assert history(best).best == (0.99, 0.99)
    won = plain_search_result(complete)
    assert history(replace(won, trials=(stopped, complete))).best == (None, 0.9)


def test_every_epoch_is_counted_in_one_rung_or_as_lost() -> None:
    result = search_result()
    spending = spending_by_rung(result)
    assert [rung.last_epoch for rung in spending] == [1, 3, 9, 27]
    assert sum(rung.epochs for rung in spending) + lost_epochs(result.trials) == sum(t.epochs for t in result.trials)
    assert [rung.num_trials for rung in spending] == sorted((rung.num_trials for rung in spending), reverse=True)


def test_rungs_over_shares_of_the_data_are_counted_by_what_they_cost() -> None:
    draw = Random(0)
    low = replace(trial(1, draw), rungs=(100,), epochs=0.5, lost_epochs=0)
    top = replace(trial(4, draw), rungs=(100, 1000), epochs=7.5, lost_epochs=2)
    result = search_result(
        trials=(low, top), best=None, rungs=(100, 1000), rung_unit="data", rung_costs=(0.5, 5), num_folds=3
    )
    spending = spending_by_rung(result)
    assert [(rung.last_epoch, rung.num_trials, rung.epochs) for rung in spending] == [(100, 2, 1.0), (1000, 1, 5.0)]
    told = rungs_table(result)
    assert told is not None
    assert "| of the training data |" in told
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in told.splitlines()]
    total = result.spent.probe_epochs + 8
    assert ["1", "10 %", "2", "1", f"{1 / total:.0%}".replace("%", " %")] in rows
    assert [
        "without a report (diverged, crashed, run again)",
        "",
        "",
        "2",
        f"{2 / total:.0%}".replace("%", " %"),
    ] in rows
    text = search_page(result, [])
    assert "ranked on 10 %, 100 % of the training data" in text
    assert "means over 3 folds" in text


def test_ties_are_the_complete_trials_within_the_interval_of_the_best_ones_value() -> None:
    result = search_result()
    best = result.best
    assert best is not None
    assert result.best_interval is not None
    tied = ties(result)
    assert tied is not None
    assert {trial.number for trial in tied} == {
        trial.number
        for trial in result.trials
        if trial.status == "complete"
        and trial.number != best.number
        and (trial.value or 0.0) >= result.best_interval.low
    }
    assert 0 < len(tied) < len(result.trials)
    wide = replace(result.best_interval, low=0.0)
    assert len(ties(replace(result, best_interval=wide)) or ()) == status_counts(result)["complete"] - 1
    told = ties_text(result)
    assert told is not None
    assert told.startswith(f"{len(tied)} other complete trial")
    assert f"{result.best_interval.num_samples:,}" in told


def test_without_an_interval_nothing_is_said_of_ties_but_that_they_are_not_known() -> None:
    result = replace(search_result(), best_interval=None)
    assert (ties(result), ties_text(result)) == (None, None)
    assert "not known" in search_page(result, [])


def test_what_the_best_value_was_chosen_over_is_told() -> None:
    result = search_result()
    assert "40 trials, each at its best epoch" in (optimism_text(result) or "")
    assert "best epoch" not in (optimism_text(replace(result, reduce="last")) or "")
    assert (optimism_text(result) or "?") in search_page(result, [])


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_the_end_of_a_grid_is_not_called_the_end_of_the_space(sampler: str) -> None:
    result = replace(search_result(), stopped_by="space", sampler=sampler)
    assert (f"of the {'grid' if sampler == 'grid' else 'space'} was tried") in search_page(result, [])
    assert "the only configuration" in search_page(replace(result, sampler="tpe", space=()), [])


def test_importance_is_told_apart_from_chance_and_from_too_few_trials() -> None:
    result = search_result()
    lr = Importance(share=0.634, num_trials=12, num_compared=12)
    told = [importance_text(replace(result, importance=shares)) for shares in ({"lr": lr}, {}, None)]
    assert told[0] == "most important: lr 63 %"
    assert "chance" in (told[1] or "")
    assert "too few" in (told[2] or "")
    assert importance_text(replace(result, space=(), importance={})) is None


def test_from_how_many_trials_a_share_comes_is_told_where_some_do_not_have_the_hyperparameter() -> None:
    everywhere = Importance(share=0.634, num_trials=40, num_compared=40)
    somewhere = Importance(share=0.31, num_trials=15, num_compared=40)
    result = replace(search_result(), importance={"lr": everywhere, "momentum": somewhere})
    assert importance_text(result) == "most important: lr 63 %, momentum 31 % (in the 15 of 40 trials that have it)"
    assert result.best is not None
    both = replace(result, best=replace(result.best, params={"lr": 0.1, "momentum": 0.9}))
    assert "15 of 40 trials" in (best_table(both) or "")
    assert "does not add up" in search_page(result, [])
    assert "does not add up" not in search_page(replace(result, importance={"lr": everywhere}), [])


def test_why_trials_failed_is_told_whole_and_counted() -> None:
    draw = Random(0)
    traceback = "Traceback (most recent call last):\n  File 'a.py', line 1, in f\n    g()\nValueError: " + "d" * 300
    failed = [
        replace(trial(number, draw), status="failed", value=None, rungs=(), message=traceback) for number in (1, 2)
    ]
    result = plain_search_result(*failed, best=None)
    assert failures(result) == {"ValueError: " + "d" * 300: [1, 2]}
    assert "ValueError: " + "d" * 300 in search_page(result, [])
    _, rows = trials_rows(result)
    assert [row[-1] for row in rows] == ["ValueError: " + "d" * 300] * 2


def test_constants_are_no_columns() -> None:
    result = search_result()
    assert "dropout" in result.trials[0].params
    assert param_names(result) == [dimension.name for dimension in result.space]
    assert param_names(replace(result, constants={}))[-1] == "dropout"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.sampled_from(["max", "min"]))
@quick
def test_value_limits_hold_the_better_half(values: list[float], mode: str) -> None:
    low, high = value_limits(values, mode)
    better = sorted(values, reverse=mode == "max")[: len(values) // 2 + 1]
    assert low < high
    assert all(low <= value <= high for value in better)


def test_hopeless_values_do_not_press_the_others_flat() -> None:
    low, high = value_limits([0.9, 0.95, 0.96, 0.97, 0.98, -1e9], "max")
    assert 0.8 < low < 0.96
    assert 0.98 < high < 1.1


def test_loss_limits_show_the_fall_and_not_the_blow_up() -> None:
    curve = lr_curve()
    assert max(point.loss for point in curve.points) > 10
    low, high = loss_limits([curve])
    assert 0.1 < low < 0.5
    assert 2.3 < high < 4


def test_chosen_points_are_few_in_order_and_hold_both_ends_and_the_suggestion() -> None:
    points = lr_curve().points
    chosen = chosen_points(points, [0.0316])
    assert chosen[0] is points[0]
    assert chosen[-1] is points[-1]
    assert len(chosen) <= 10
    assert [point.step for point in chosen] == sorted(point.step for point in chosen)
    assert min(abs(point.lr / 0.0316 - 1) for point in chosen) < 0.05
    assert chosen_points(points[:1], [0.1]) == [points[0]]
