"""Metrics that are NaN or infinite (only the loss decides divergence), and the one-line reason of a failed trial."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_recipes import blobs_recipe
from made_studies import Ran
from rung_jobs import FIVE_FOLDS, job, ran
from scripted_executor import ScriptedExecutor, steady_accuracy

from probe.errors import user_code_error
from probe.recipe.schema import SchedulerName
from probe.records_json import from_plain, to_plain
from probe.report.store import write_report
from probe.report.train import history_rows
from probe.search.analysis.messages import epochs_text, reason, training_warnings, trials_warnings
from probe.search.jobs.folds import mean_report
from probe.search.jobs.jobs import RungJob
from probe.search.jobs.stopping import has_stopped_improving, stale_epochs
from probe.search.records.objective import Objective, best_epoch, epoch_value, reduced_value
from probe.search.records.search import BudgetLimits
from probe.search.schedulers.asha import AsynchronousSuccessiveHalving
from probe.single.records import TrainResult
from probe.single.train import train
from probe.tasks.source import TargetSource
from probe.training.records import EpochReport

PRECISION = Objective(metric="precision", mode="max")


def rung(first: int, last: int, **changes: Any) -> RungJob:
    params = {"first": first, "last": last, "lr": 0.1}
    return job(source=TargetSource(target="odd_tasks:undefined_metric"), params=params, objective=PRECISION, **changes)


def report(epoch: int, value: float | None) -> EpochReport:
    metrics = {} if value is None else {"precision": value}
    undefined = ("precision",) if value is None else ()
    return EpochReport(epoch=epoch, train_loss=1.0, val_loss=1.0, metrics=metrics, seconds=0.1, undefined=undefined)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_an_undefined_metric_ends_no_trial_and_is_named(value: str) -> None:
    work = rung(2, 3, epochs_to=4)
    found, sent = ran(replace(work, params={**work.params, "value": value}))
    assert (found.outcome, found.num_passes, len(sent)) == ("finished", 4, 4)
    assert [epoch.undefined for epoch in sent] == [(), ("precision",), ("precision",), ()]
    assert [epoch_value(PRECISION, epoch) for epoch in sent] == [0.5, None, None, 0.5]
    assert all("accuracy" in epoch.metrics for epoch in sent)
    assert [from_plain(EpochReport, to_plain(epoch)) for epoch in sent] == sent


def test_a_loss_that_is_not_finite_on_validation_data_is_divergence() -> None:
    found, sent = ran(job(source=TargetSource(target="odd_tasks:undefined_loss"), params={"lr": 0.1}))
    assert (found.outcome, sent) == ("diverged", [])


def test_the_summary_of_a_fit_leaves_out_what_one_part_has_no_value_of() -> None:
    found, _ = ran(rung(2, 2))  # the last epoch's validation
    assert found.summary is not None
    assert set(found.summary.train.metrics) == set(found.summary.val.metrics) == {"accuracy"}
    found, _ = ran(rung(3, 3))  # the training part, scored afterwards
    assert found.summary is not None
    assert set(found.summary.train.metrics) == {"accuracy"}


def test_a_mean_over_folds_needs_all_of_them() -> None:
    found, sent = ran(rung(2, 2, split=FIVE_FOLDS, epochs_to=2))
    assert found.outcome == "finished"
    assert [epoch.undefined for epoch in sent] == [(), ("precision",)]
    assert set(sent[1].metrics) == {"accuracy"}
    assert set(sent[1].metric_spread or {}) == {"loss", "accuracy"}
    mean = mean_report([report(1, 0.5), report(1, None), report(1, 0.7)])
    assert (mean.metrics, mean.undefined) == ({}, ("precision",))


values = st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=12)


@settings(deadline=None)
@given(values, st.integers(1, 4))
def test_the_epochs_without_a_value_neither_count_nor_end_a_trial_before_its_first(
    found: list[float | None], patience: int
) -> None:
    reports = [report(epoch, value) for epoch, value in enumerate(found, start=1)]
    defined = [value for value in found if value is not None]
    assert reduced_value(PRECISION, reports) == max(defined, default=None)
    assert reduced_value(replace(PRECISION, reduce="last"), reports) == (defined[-1] if defined else None)
    best = best_epoch(PRECISION, reports)
    assert best is None or found[best - 1] == max(defined)
    stale = stale_epochs(PRECISION, reports)
    assert stale == (0 if best is None else len(found) - best)
    assert has_stopped_improving(PRECISION, reports, patience) == (best is not None and stale >= patience)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=3, max_size=20), st.integers(2, 4))
def test_a_rung_promotes_trials_without_a_value_last(scores: list[float | None], factor: int) -> None:
    scheduler = AsynchronousSuccessiveHalving((1, 3), factor=factor, mode="max")
    for number, score in enumerate(scores):
        scheduler.record(number, 0, score)
    climbed = []
    while (promotion := scheduler.next_promotion(rule="open")) is not None:
        scheduler.promote(promotion)
        climbed.append(promotion.number)
    first_without = next((place for place, number in enumerate(climbed) if scores[number] is None), len(climbed))
    assert all(scores[number] is None for number in climbed[first_without:])
    assert sorted(climbed) == list(range(len(scores)))


@pytest.mark.parametrize("scheduler", ["asha", "halving", "hyperband", "none"])
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_whose_metric_comes_late_is_a_search(scheduler: SchedulerName, sampler: str) -> None:
    def late(params: dict[str, Any], epoch: int) -> float:
        return math.nan if epoch < 3 else steady_accuracy(params, epoch)

    rungs = (9,) if scheduler == "none" else (1, 3, 9)
    found = Ran(
        limits=BudgetLimits(trials=12),
        executor=ScriptedExecutor(accuracy=late),
        rungs=rungs,
        scheduler=scheduler,
        sampler=sampler,
    )
    assert {trial.status for trial in found.results} <= {"complete", "stopped", "undefined"}
    assert "complete" in {trial.status for trial in found.results}
    for trial in found.results:
        assert (trial.status == "undefined") == (len(trial.reports) < 3)
        assert (trial.value is None) == (trial.status == "undefined")
    [warning] = trials_warnings(found.results)
    assert "'accuracy'" in warning
    assert "epochs 1 to 2 of trial" in warning


def test_a_search_without_any_value_says_why() -> None:
    found = Ran(limits=BudgetLimits(trials=3), executor=ScriptedExecutor(accuracy=lambda *_: math.nan), rungs=(2,))
    assert [trial.status for trial in found.results] == ["undefined"] * 3
    assert "accuracy was NaN" in (found.results[0].message or "")


def test_the_sampler_is_told_of_no_value_as_of_something_to_avoid() -> None:
    told: list[tuple[int, str, float | None]] = []
    Ran(
        limits=BudgetLimits(trials=2),
        executor=ScriptedExecutor(accuracy=lambda params, epoch: math.nan if epoch == 1 else 0.5),
        rungs=(1, 2),
        scheduler="none",
        sampler="tpe",
        listen=lambda *call: told.append(call),
    )
    assert ("scored", None) in {call[1:] for call in told}


def test_a_training_names_the_metric_and_its_record_and_table_stay_valid(tmp_path: Path) -> None:
    recipe = blobs_recipe(
        {"lr": 0.1, "first": 1, "last": 3},  # the untrained model is scored, too
        task={"target": "odd_tasks:undefined_metric", "objective": {"metric": "precision", "mode": "max"}},
        search={"fidelity": {"max": 3}},
    )
    result = train(recipe, device="cpu")
    assert (result.stopped_by, result.best_epoch, result.last_value) == ("finished", 3, 0.5)
    assert any("'precision'" in warning and "epochs 1 to 2" in warning for warning in result.warnings)
    assert from_plain(TrainResult, to_plain(result)) == result
    header, rows = history_rows(result.reports)
    assert [row[header.index("val_precision")] for row in rows] == [None, None, 0.5]
    write_report(result, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "precision" in text
    assert "nan" not in text.lower().replace("nan or infinite", "")


def test_epochs_in_words() -> None:
    assert [epochs_text(epochs) for epochs in ([2], [1, 2, 3], [1, 4])] == [
        "epoch 2",
        "epochs 1 to 3",
        "2 of the epochs 1 to 4",
    ]
    assert training_warnings([report(1, 0.5)]) == []


def test_the_records_of_a_search_name_each_metric_once() -> None:
    def sometimes(params: dict[str, Any], epoch: int) -> float:
        return math.nan if epoch == 2 else 0.1 * epoch

    found = Ran(limits=BudgetLimits(trials=6), executor=ScriptedExecutor(accuracy=sometimes), rungs=(3,))
    [warning] = trials_warnings(found.results)
    assert "epoch 2 of trial 0, epoch 2 of trial 1, epoch 2 of trial 2 and epochs of 3 other trials" in warning
    assert all(trial.value == pytest.approx(0.3) for trial in found.results)


class Refused(Exception):  # noqa: N818  # as users name theirs
    pass


def attention() -> None:
    torch.nn.MultiheadAttention(10, 3)


def chained() -> None:
    try:
        attention()
    except AssertionError:
        raise ValueError("embed_dim must be divisible by num_heads") from None


def caused() -> None:
    try:
        [][1]
    except IndexError as error:
        raise Refused("width = 3 | heads = 2") from error


def wrong_weights() -> None:
    torch.nn.Linear(2, 3).load_state_dict({"other": torch.zeros(1)})


def many_lines() -> None:
    raise RuntimeError("CUDA error: device-side assert triggered\n\nonly\n  asynchronously\nTORCH_USE_CUDA_DSA")


def noted() -> None:
    error = KeyError("x")
    error.add_note("while building the model")
    raise error


def unreadable() -> None:
    compile("def f(:", "model.py", "exec")


@pytest.mark.parametrize(
    ("fail", "expected"),
    [
        (chained, "ValueError: embed_dim must be divisible by num_heads"),
        (caused, f"{__name__}.Refused: width = 3 | heads = 2"),
        (attention, "AssertionError: embed_dim must be divisible by num_heads"),
        (many_lines, "RuntimeError: CUDA error: device-side assert triggered ... TORCH_USE_CUDA_DSA"),
        (noted, "KeyError: 'x' while building the model"),
    ],
)
def test_a_traceback_is_told_by_its_error_whole(fail: object, expected: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011  # each raises another
        fail()  # type: ignore[operator]
    assert reason(user_code_error("text", raised.value).traceback) == expected


@pytest.mark.parametrize("fail", [wrong_weights, unreadable])
def test_errors_with_indented_lines_keep_their_name(fail: object) -> None:
    with pytest.raises((RuntimeError, SyntaxError)) as raised:
        fail()  # type: ignore[operator]
    told = reason(user_code_error("text", raised.value).traceback)
    assert told.startswith(f"{type(raised.value).__name__}: ")
    assert "\n" not in told


def test_other_messages_are_joined_and_long_outputs_keep_their_ends() -> None:
    assert reason("Metric 'f1' must return one number.\nReduce it.") == "Metric 'f1' must return one number. Reduce it."
    words = "x" * 5000
    assert reason(words) == words
    died = "The worker was killed by SIGSEGV\nwarning\nwarning\nFatal Python error: Segmentation fault"
    assert reason(died) == "The worker was killed by SIGSEGV ... Fatal Python error: Segmentation fault"
    assert reason("") == ""


def test_a_traceback_that_was_cut_within_its_frames_keeps_its_last_line() -> None:
    cut = 'Traceback (most recent call last):\n  File "model.py", line 3, in forward\n    return self.layer(x)\n'
    assert reason(cut) == "return self.layer(x)"
