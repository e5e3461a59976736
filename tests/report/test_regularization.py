"""What a report says of regularization, of weights at zero, of folds and of losses that are not the reported one."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from made_records import plain_search_result, search_result, train_result, trial

from probe.report.search.figures import value_spread
from probe.report.search.page import search_page
from probe.report.search.regularization import (
    active_regularizers,
    best_kinds,
    fit_table,
    loss_note,
    regularization_blocks,
    winner_text,
)
from probe.report.search.summary import search_summary
from probe.report.train import train_page
from probe.search.records.search import Dimension, FinalTraining, SearchResult, TrialResult
from probe.training.records import EpochReport, SplitScore, TrainingSummary, WeightCounts


def fit(train_loss: float, val_loss: float, *, near: int = 3, zero: int = 0) -> TrainingSummary:
    return TrainingSummary(
        epoch=27,
        train=SplitScore(loss=train_loss, metrics={"accuracy": 1.0 - train_loss / 10}, num_samples=100),
        val=SplitScore(loss=val_loss, metrics={"accuracy": 1.0 - val_loss / 10}, num_samples=300),
        weights=WeightCounts(num_weights=100, num_near_zero=near, num_zero=zero),
    )


def tried(number: int, value: float, summary: TrainingSummary | None, **params: Any) -> TrialResult:
    made = replace(trial(0, Random(0)), status="complete", message=None, lost_epochs=0)
    return replace(made, number=number, value=value, params={"lr": 0.1, **params}, summary=summary)


def regularized(**changes: Any) -> SearchResult:
    none = {"l1": 0.0, "l2": 0.0, "dropout": 0.0}
    trials = (
        tried(0, 0.90, fit(0.0, 1.0), **none),
        tried(1, 0.89, fit(0.01, 1.5), **none),
        tried(2, 0.93, fit(0.1, 0.6, near=62, zero=41), **{**none, "l1": 1e-3}),
        tried(3, 0.92, fit(0.1, 0.8, near=60), **{**none, "l1": 1e-4}),
        tried(4, 0.95, fit(0.2, 0.5), **{**none, "l2": 0.01, "dropout": 0.5}),
        tried(5, 0.99, None, **{**none, "l2": 0.5}),
    )
    return plain_search_result(*trials, **changes)


def test_active_are_those_that_do_something() -> None:
    assert active_regularizers({"l1": 0.0, "l2": 0, "dropout": 0.1, "augmentation": "none", "lr": 1.0}) == ("dropout",)
    assert active_regularizers({"augmentation": "flip", "weight_decay": 1e-6}) == ("weight_decay", "augmentation")


def test_the_best_of_each_kind_stands_beside_the_best_without() -> None:
    assert [(kind.text, kind.trial.number) for kind in best_kinds(regularized())] == [
        ("none", 0),
        ("l2 + dropout", 4),
        ("l1", 2),
    ]


def test_the_table_says_how_much_of_the_gap_is_closed() -> None:
    _, summary, _, table = regularization_blocks(regularized())
    assert "**With l2 + dropout (trial 4) 70 % of the gap is closed that trial 0 has" in summary
    assert "the validation loss goes from 1 to 0.5.**" in summary
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows[0][-2:] == ["weights near zero", "exactly zero"]
    assert rows[2][:6] == ["none", "0", "0", "1", "1", ""]
    assert rows[4][:6] == ["l1", "2", "0.1", "0.6", "0.5", "50 %"]
    assert rows[4][6:] == ["99.00 %", "94.00 %", "62.0 %", "41.0 %"]


def test_a_gap_closed_by_learning_less_is_called_so() -> None:
    trials = (tried(0, 0.9, fit(0.0, 1.0), dropout=0.0), tried(1, 0.95, fit(1.9, 2.0), dropout=0.9))
    blocks = regularization_blocks(plain_search_result(*trials))
    assert "90 % of the gap is closed" in blocks[1]
    assert "not by generalizing better" in blocks[1]
    assert "weights near zero" not in blocks[-1]  # L1 was never there


def test_without_something_to_compare_with_nothing_is_claimed() -> None:
    assert regularization_blocks(plain_search_result(tried(0, 0.9, fit(0.0, 1.0), dropout=0.1))) == []
    assert regularization_blocks(plain_search_result()) == []
    both = (tried(0, 0.9, fit(0.0, 1.0), dropout=0.1), tried(1, 0.8, fit(0.0, 1.0), l2=0.1))
    assert "nothing to measure the gap against" in regularization_blocks(plain_search_result(*both))[1]
    fine = (tried(0, 0.9, fit(0.5, 0.4)), tried(1, 0.8, fit(0.5, 0.3), l2=0.1))
    blocks = regularization_blocks(plain_search_result(*fine))
    assert "no gap to close" in blocks[1]
    assert "%" not in blocks[-1].splitlines()[3].split("|")[6]


def test_nothing_is_put_down_to_regularization_where_something_else_differs() -> None:
    bare, other = tried(0, 0.9, fit(0.0, 1.0)), tried(1, 0.95, fit(0.2, 0.5))
    other = replace(other, params={"lr": 0.2, "width": 8, "l2": 0.1})
    blocks = regularization_blocks(plain_search_result(bare, other))
    assert "differs from those with it in `lr`, `width`, too" in blocks[1]
    assert "%" not in blocks[-1].splitlines()[3].split("|")[6]
    same = tried(2, 0.91, fit(0.2, 0.7), dropout=0.5)  # not the best of all, but comparable
    assert (
        "**With dropout (trial 2) 50 % of the gap" in regularization_blocks(plain_search_result(bare, other, same))[1]
    )


def test_trials_that_were_stopped_early_count_only_where_none_is_complete() -> None:
    late, early = tried(0, 0.9, fit(0.0, 1.0)), replace(tried(1, 0.99, fit(0.5, 0.5)), status="stopped")
    assert [kind.trial.number for kind in best_kinds(plain_search_result(late, early))] == [0]
    assert [kind.trial.number for kind in best_kinds(plain_search_result(early))] == [1]


def test_the_winners_two_sides_and_the_final_fits_zeros() -> None:
    final = FinalTraining(
        epochs=3, seed=1, reports=(), weights=WeightCounts(num_weights=50, num_zero=10, num_near_zero=25)
    )
    result = regularized(final=final)
    won = replace(result, best=replace(result.best, number=2, params=result.trials[2].params, value=0.93))  # type: ignore[type-var]
    text = winner_text(won)
    assert text is not None
    assert "loss 0.1 in training, 0.6 in validation; accuracy 99.00 % and 94.00 %" in text
    page = search_page(won, [])
    assert text in page
    assert "their layer's largest): 50.0 %; exactly zero: 20.0 %." in page
    assert "exactly zero: 20.0 %" not in search_page(replace(won, best=replace(won.best, params={})), [])  # type: ignore[type-var]


def test_a_trainings_page_has_both_parts() -> None:
    summary = fit(0.1, 0.6)
    page = train_page(train_result(summary=summary, weights=summary.weights), [])
    told = fit_table(summary, summary.weights)
    assert told is not None
    assert told in page
    assert "| accuracy | 99.00 % | 94.00 % | -0.05 |" in told
    assert fit_table(None, None) is None
    assert fit_table(None, summary.weights) == (
        "Weights near zero (below a hundredth of their layer's largest): 3.0 %; exactly zero: 0.0 %."
    )


def folded() -> SearchResult:
    reports = tuple(
        EpochReport(
            epoch=epoch,
            train_loss=0.5,
            val_loss=0.6,
            metrics={"accuracy": value},
            seconds=1.0,
            metric_spread={"accuracy": spread, "loss": 0.1},
        )
        for epoch, value, spread in ((1, 0.8, 0.05), (2, 0.95, 0.012), (3, 0.94, 0.02))
    )
    won = replace(tried(0, 0.95, None), reports=reports, epochs=15)
    return plain_search_result(won, num_folds=5)


def test_folds_are_shown_with_their_spread() -> None:
    result = folded()
    assert value_spread(result, result.trials[0]) == 0.012
    assert "95.00 % (trial 0, standard deviation 1.20 % over 5 folds)" in search_summary(result).answer
    page = search_page(result, [])
    assert "means over 5 folds, ± their standard deviation" in page
    assert "95.00 % ± 1.20 %" in page
    assert value_spread(search_result(), search_result().trials[0]) is None


@pytest.mark.parametrize(
    ("name", "metric", "task", "told"),
    [
        ("label_smoothing", "accuracy", "cnn on digits", "by their accuracy"),
        ("loss", "loss", "cnn on csv:a.csv", "ranks such trials lower"),
        ("loss", "accuracy", "mytask:task", None),
        ("dropout", "accuracy", "cnn on digits", None),
    ],
)
def test_what_other_losses_mean_for_ranking(name: str, metric: str, task: str, told: str | None) -> None:
    dimension = Dimension(name=name, kind="choices", choices=("a", "b"))
    note = loss_note(plain_search_result(metric=metric, task=task, space=(dimension,)))
    assert (note is None) == (told is None)
    assert told is None or told in str(note)
