"""Rungs of real trials, run in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rung_jobs import ACCURACY, FIVE_FOLDS, job, numbers, ran

from probe.device.select import DeviceSpec
from probe.errors import DataError
from probe.loading.records import ValidationSplit
from probe.loading.validation import split_task
from probe.search.jobs.stopping import Constraints
from probe.tasks.source import TargetSource


@pytest.mark.parametrize(
    ("fault", "message", "num_passes"),
    [("refused early", "not with a width of 8", 0), ("refused", "not with these layers", 1)],
)
@pytest.mark.parametrize("gradient_accumulation", [None, 2])
def test_a_configuration_that_the_task_refuses_is_infeasible(
    fault: str, message: str, num_passes: int, gradient_accumulation: int | None
) -> None:
    report, sent = ran(job(fault, gradient_accumulation=gradient_accumulation))
    assert (report.outcome, report.message, report.num_passes, sent) == ("infeasible", message, num_passes, [])


def test_out_of_memory_says_how_to_split_the_batch_and_the_split_trains_alike() -> None:
    report, sent = ran(job("fits_4"))
    assert (report.outcome, report.next_gradient_accumulation, report.num_passes, sent) == ("oom", 2, 1, [])
    report, _ = ran(job("fits_4", gradient_accumulation=2))
    assert (report.outcome, report.next_gradient_accumulation) == ("oom", 4)
    report, sent = ran(job("fits_4", gradient_accumulation=4))
    assert report.outcome == "finished"
    _, whole = ran(job())
    for split, expected in zip(sent, whole, strict=True):
        assert split.train_loss == pytest.approx(expected.train_loss, rel=1e-4)
        assert split.val_loss == pytest.approx(expected.val_loss, rel=1e-4)


def test_a_model_that_refuses_parts_of_its_batch_is_out_of_memory_and_no_bug() -> None:
    with pytest.raises(ZeroDivisionError):
        ran(job("raises"))
    report, _ = ran(job("fits_1_but_fails", gradient_accumulation=8))
    assert (report.outcome, report.next_gradient_accumulation) == ("oom", 16)
    report, _ = ran(job("fits_1_but_fails", gradient_accumulation=16))
    assert (report.outcome, report.next_gradient_accumulation) == ("oom", None)
    assert "16" in (report.message or "")
    assert "Expected more than 1 value per channel when training" in (report.message or "")


def test_an_error_that_wraps_a_lack_of_memory_is_out_of_memory() -> None:
    report, _ = ran(job("wrapped"))
    assert (report.outcome, report.next_gradient_accumulation, report.message) == (
        "oom",
        2,
        "CUDA out of memory. Tried 8 GiB",
    )


def test_a_limit_of_a_kernel_splits_the_batch_and_is_a_bug_where_one_sample_meets_it() -> None:
    report, _ = ran(job("unsupported"))
    assert (report.outcome, report.next_gradient_accumulation) == ("oom", 2)
    with pytest.raises(RuntimeError, match="NOT_SUPPORTED"):
        ran(job("unsupported", gradient_accumulation=16))


def test_a_model_that_is_too_large_costs_no_epoch() -> None:
    report, sent = ran(job(constraints=Constraints(params=57)))
    assert (report.outcome, report.num_passes, sent) == ("infeasible", 0, [])
    assert "58" in (report.message or "")
    assert "57" in (report.message or "")
    assert ran(job(constraints=Constraints(params=58)))[0].outcome == "finished"


def test_too_much_memory_ends_a_trial_after_its_first_epoch() -> None:
    device = DeviceSpec(kind="simulated", limit_bytes=2**30)
    report, sent = ran(job(device=device, constraints=Constraints(memory_bytes=100)))
    assert (report.outcome, report.num_passes, len(sent)) == ("infeasible", 1, 1)
    assert "100 B" in (report.message or "")
    assert ran(job(device=device, constraints=Constraints(memory_bytes=2**20)))[0].outcome == "finished"


def test_slow_steps_end_a_trial_after_its_first_rung_and_never_later() -> None:
    slow = Constraints(step_seconds=1e-9)
    report, sent = ran(job(constraints=slow))
    assert (report.outcome, len(sent)) == ("infeasible", 2)
    assert all(epoch.step_seconds is not None and 0 < epoch.step_seconds < epoch.seconds for epoch in sent)
    assert ran(job(constraints=Constraints(step_seconds=60)))[0].outcome == "finished"


def test_patience_ends_a_trial_and_counts_the_rungs_before(tmp_path: Path) -> None:
    steady = {"width": 8, "fault": "none", "lr": 1e-12, "batch_size": 16}  # nothing ever changes
    report, sent = ran(job(params=steady, epochs_to=9, objective=ACCURACY, patience=3))
    assert (report.outcome, len(sent), report.num_passes) == ("early_stopped", 4, 4)
    assert "3 epochs" in (report.message or "")
    checkpoint = tmp_path / "two.pt"
    report, first = ran(job(params=steady, objective=ACCURACY, patience=3, checkpoint_out=checkpoint))
    assert report.outcome == "finished"
    later = job(params=steady, epochs_from=2, epochs_to=9, objective=ACCURACY, patience=3, checkpoint_in=checkpoint)
    report, sent = ran(replace(later, earlier=tuple(first)))
    assert (report.outcome, [epoch.epoch for epoch in sent]) == ("early_stopped", [3, 4])


def test_folds_are_trained_alike_in_one_go_and_from_a_checkpoint(tmp_path: Path) -> None:
    report, whole = ran(job(split=FIVE_FOLDS, epochs_to=3))
    assert (report.outcome, report.num_passes, len(whole)) == ("finished", 15, 3)
    for epoch in whole:
        assert set(epoch.metric_spread or {}) == {"loss", "accuracy"}
        assert (epoch.metric_spread or {})["loss"] > 0
        assert 0 < epoch.train_metrics["accuracy"] <= 1
    checkpoint = tmp_path / "one.pt"
    _, first = ran(job(split=FIVE_FOLDS, epochs_to=1, checkpoint_out=checkpoint))
    _, rest = ran(job(split=FIVE_FOLDS, epochs_from=1, epochs_to=3, checkpoint_in=checkpoint))
    assert numbers([*first, *rest]) == numbers(whole)


def test_a_fold_that_diverges_ends_the_trial_with_what_it_cost() -> None:
    report, sent = ran(job("diverges", split=FIVE_FOLDS))
    assert (report.outcome, report.num_passes, sent) == ("diverged", 1, [])
    assert "1 of 5" in (report.message or "")


def test_patience_over_folds_is_looked_at_when_all_of_them_are_there() -> None:
    steady = {"width": 8, "fault": "none", "lr": 1e-12, "batch_size": 16}
    report, sent = ran(job(params=steady, split=FIVE_FOLDS, epochs_to=5, objective=ACCURACY, patience=3))
    assert (report.outcome, len(sent), report.num_passes) == ("early_stopped", 5, 25)


def test_a_share_of_the_data_is_trained_on_and_all_of_it_validated() -> None:
    _, part = ran(job(data_thousandths=100))
    _, more = ran(job(data_thousandths=1000))
    _, whole = ran(job())
    assert numbers(more) == numbers(whole)
    assert numbers(part) != numbers(whole)


def test_folds_refuse_a_validation_part_of_the_tasks_own() -> None:
    task = split_task(TargetSource(target="searched_task:blobs").build({}), ValidationSplit(fraction=0.2, seed=1))
    with pytest.raises(DataError, match="own validation split"):
        split_task(task, FIVE_FOLDS)


def test_a_rungs_end_holds_both_sides_of_the_gap() -> None:
    report, sent = ran(job())
    fit = report.summary
    assert fit is not None
    assert (fit.epoch, fit.val.loss, fit.val.metrics) == (2, sent[-1].val_loss, sent[-1].metrics)
    assert (fit.train.num_samples, fit.val.num_samples) == (40, 40)
    assert fit.weights.num_weights == 8 * 4 + 2 * 8
    report, _ = ran(job("fits_4"))
    assert report.summary is None


def test_the_gap_of_folds_is_their_mean() -> None:
    report, sent = ran(job(split=FIVE_FOLDS))
    assert report.summary is not None
    assert report.summary.val.loss == pytest.approx(sent[-1].val_loss)
    assert report.summary.val.num_samples == 160
    assert report.summary.weights.num_weights == 5 * (8 * 4 + 2 * 8)
