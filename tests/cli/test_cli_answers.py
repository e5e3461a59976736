"""The last lines of a run, for results made by hand; their exact wording is in the snapshots of tests/report."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from made_records import (
    ALTERNATIVES,
    DEVICE_MEMORY,
    attempt,
    batch_result,
    checked_result,
    comparison,
    confirmed_lr_result,
    failed_attempt,
    lr_comparison,
    lr_result,
    nothing_fits_result,
    plain_search_result,
    predicted_result,
    prediction_info,
    search_comparison,
    search_result,
    train_result,
    trial,
)

from probe.batch.prediction_records import PredictionInfo
from probe.cli.answers import answer_lines, layout_lines
from probe.cli.live.lines import plan_text, trial_text
from probe.diagnosis.diagnose import diagnose
from probe.lr.plan import plan_probe
from probe.lr.suggest import FREE_PASSES
from probe.report.kinds import Result
from probe.training.records import EpochReport


def texts(result: Result, label: str) -> list[str]:
    """The texts under a label, with the lines that continue it."""
    found, current = [], ""
    for line_label, content in answer_lines(result):
        current = line_label or current
        if current == label and isinstance(content, str):
            found.append(content)
    return found


def screen(result: Result, width: int = 100) -> str:
    return "\n".join(layout_lines(answer_lines(result), width=width))


def test_a_batch_answer_names_its_two_sizes_and_rests_on_three_attempts() -> None:
    result = batch_result(recommended=32)
    (answer,) = texts(result, "Answer")
    assert all(fact in answer for fact in ("64 (confirmed", "recommended is 32"))
    assert [text.split(":")[0] for text in texts(result, "Evidence")] == [
        "batch 32 (throughput)",
        "batch 64 (throughput)",
        "batch 128",
    ]
    assert texts(result, "Headroom") == ["3.79 GiB (47 % of 8 GiB) at batch 64"]
    assert texts(result, "Cost") == ["11 attempts, 1 min 23 s"]


def test_where_nothing_fits_the_alternatives_come_with_the_answer() -> None:
    assert texts(nothing_fits_result(), "Answer") == ["no batch size fits, not even 1"]
    assert "--precision bf16" in texts(nothing_fits_result(), "Next")[0]
    with_alternatives = nothing_fits_result(alternatives=ALTERNATIVES)
    assert texts(with_alternatives, "Next") == []
    assert "gradient_accumulation = 8" in texts(with_alternatives, "Instead")[0]
    assert "bf16                                     2  119 MiB" in screen(with_alternatives)


def test_a_sweep_at_a_cap_says_what_stopped_it() -> None:
    assert "training set" in texts(batch_result(capped_by="data"), "Evidence")[-1]


def test_errors_are_quoted_by_their_first_line() -> None:
    too_large = failed_attempt(128, "error", "RuntimeError: no engine\nmore of it")
    too_small = failed_attempt(2, "error", "ValueError: clips of 8")
    result = batch_result(attempts=(too_large, attempt(64), too_small), capped_by="error")
    evidence = " ".join(texts(result, "Evidence"))
    assert "batch 128: error: RuntimeError: no engine" in evidence
    assert "Batch 2 is too small for this task: ValueError: clips of 8" in evidence
    assert "more of it" not in screen(result)


def test_where_nothing_fits_both_kinds_of_failure_are_evidence() -> None:
    refused = failed_attempt(1, "error", "ValueError: one sample")
    result = nothing_fits_result(attempts=(attempt(2, limit=1), refused))
    assert texts(result, "Evidence") == ["batch 1: error: ValueError: one sample", "batch 2: out of memory"]


def test_a_prediction_is_a_table_of_gpus_that_a_narrow_terminal_cuts() -> None:
    wide, narrow = (screen(predicted_result(8, 141), width) for width in (140, 60))
    assert "141 GiB  2,048" in wide
    assert "context" in wide
    assert "context" not in narrow
    for result in (predicted_result(), comparison(), comparison(predicted=True)):
        assert max(map(len, screen(result, 80).splitlines())) <= 80


def test_a_prediction_is_evidence_next_to_the_measurement() -> None:
    assert any(text.startswith("predicted: batch 64") for text in texts(checked_result(), "Evidence"))
    failed = PredictionInfo(traced_as=None, failure="the step reads a value.", seconds=1.0)
    assert "no prediction: the step reads a value." in texts(checked_result(prediction_info=failed), "Evidence")
    assert any("fake cpu" in text for text in texts(predicted_result(prediction_info=prediction_info()), "Evidence"))


def test_what_is_odd_about_the_device_is_a_warning() -> None:
    others, emulated = texts(batch_result(device_memory=DEVICE_MEMORY), "Warning")
    assert all(fact in others for fact in ("python (pid 4711, 2.00 GiB)", "some|viewer (pid 815)", "3.00 GiB"))
    assert "8 GiB is emulated" in emulated


def test_a_comparison_has_a_row_for_each_variant() -> None:
    assert "256 x 256   bf16           128           64       513          33.6     4.65 GiB" in screen(comparison())
    assert "256 x 256   bf16         128     256" in screen(comparison(predicted=True))
    assert texts(comparison(), "Cost") == ["6 variants, 5 min 21 s"]


def test_a_learning_rate_tells_its_range_and_what_it_rests_on() -> None:
    result = lr_result()
    answer, steps = texts(result, "Answer")
    assert answer == "learning rate 0.0316, good from 0.0141 to 0.0891"
    assert "3,750 steps, 5 passes" in steps
    assert any(text.startswith("other rules on this curve: steepest") for text in texts(result, "Evidence"))
    assert "--batch 32,128,512" in texts(result, "Note")[0]
    assert "--confirm" in texts(result, "Next")[0]


def test_confirming_runs_are_a_table() -> None:
    result = confirmed_lr_result(lr_schedule="cosine")
    assert texts(result, "Answer")[0].startswith("peak learning rate ")
    assert "5 runs of 100 steps" in texts(result, "Evidence")[0]
    assert "            0.1              diverged                    -" in screen(result)
    assert texts(result, "Task") == ["cnn on mnist, sgd, fp32, batch 64, cosine schedule"]
    assert texts(result, "Next") == []


def test_a_long_training_tells_what_the_learning_rate_was_divided_by() -> None:
    _, steps = texts(lr_result(passes=4 * FREE_PASSES, training_steps_assumed=True), "Answer")
    assert all(fact in steps for fact in ("assumed", f"{4 * FREE_PASSES:g} passes", "0.126", "divided by 4"))


def test_without_a_suggestion_the_warning_and_what_to_try_are_shown() -> None:
    result = lr_result(suggestion=None, warnings=("The loss never fell.",))
    assert texts(result, "Answer")[0] == "no learning rate between 1e-05 and 10 can be suggested"
    assert texts(result, "Warning") == ["The loss never fell."]
    assert "--from" in texts(result, "Next")[0]
    assert texts(result, "Note") == []


def test_learning_rates_of_several_optimizers_are_a_table() -> None:
    result = lr_comparison()
    assert texts(result, "Answer") == ["learning rates for 2 of 3 optimizers"]
    assert "adam          0.0016   0.0007 to 0.004    211" in screen(result)
    assert texts(result, "Warning") == ["optimizer adamw: The loss | never falls."]
    assert texts(lr_comparison("batch_size"), "Answer") == ["learning rates for 2 of 2 batch sizes"]


def test_a_plan_tells_what_it_may_cost() -> None:
    usual = {"lowest_lr": 1e-5, "highest_lr": 10.0}
    short = plan_probe(**usual, steps=None, repeats=1, confirm=False, training_steps=500)
    assert plan_text(short) == "up to 300 training steps: a range test of 300"
    full = plan_probe(**usual, steps=60, repeats=3, confirm="full", training_steps=4000)
    assert plan_text(full) == "up to 5,180 training steps: 3 range tests of 60 each, then 5 runs of 1,000"


def test_a_search_answers_with_the_value_the_configuration_and_the_test_score() -> None:
    result = search_result()
    assert result.best is not None
    (answer,) = texts(result, "Answer")
    assert all(fact in answer for fact in (f"trial {result.best.number}", "98.12 %", "98.61 %"))
    assert ", ".join(texts(result, "Best")).split(", ")[:2] == ["batch_size = 32", "optimizer = adam"]
    (test,) = texts(result, "Test")
    assert all(fact in test for fact in ("98.37 % to 98.83 %", "10,000 samples never used before", "21 epochs"))
    assert texts(result, "Device") == ["cpu, 2 workers"]
    assert texts(result, "Evidence")[0].startswith("40 trials: 30 stopped, ")
    assert "40 trials, 256 epochs (2.40 for probes) + 21 epochs" in texts(result, "Cost")[0]


def test_a_search_says_what_the_best_trials_curves_show() -> None:
    losses = [(2.0 / epoch, 2.1 / epoch + 0.04 * max(0, epoch - 6)) for epoch in range(1, 28)]
    reports = [
        EpochReport(epoch=number, train_loss=train, val_loss=val, metrics={}, seconds=1.0)
        for number, (train, val) in enumerate(losses, 1)
    ]
    for num_epochs, kind in ((3, "too few epochs"), (27, "clearly overfitting")):
        result = search_result(diagnosis=diagnose(reports[:num_epochs], untrained_loss=2.3))
        (line,) = [text for text in texts(result, "Evidence") if text.startswith("learning curves of the best trial")]
        assert kind in line


def test_a_search_warns_of_the_error_that_its_batch_probe_took_for_a_limit() -> None:
    too_large = failed_attempt(128, "crashed", "A worker process was killed by SIGSEGV\nits last words")
    probed = batch_result(attempts=(too_large, *batch_result().attempts[3:]), capped_by="error")
    (warning,) = texts(search_result(batch_probe=probed), "Warning")
    assert all(fact in warning for fact in ("Batch 128", "killed by SIGSEGV"))
    assert "last words" not in warning


def test_a_search_says_why_it_took_its_sampler_and_scheduler() -> None:
    chosen = search_result(sampler_reason="tpe, since lr is drawn", scheduler_reason="asha, since it saves epochs")
    expected = ["sampler: tpe, since lr is drawn", "scheduler: asha, since it saves epochs"]
    assert texts(chosen, "Evidence")[-2:] == expected
    assert not [text for text in texts(search_result(), "Evidence") if text.startswith(("sampler:", "scheduler:"))]


def test_reasons_of_failed_trials_are_counted() -> None:
    draw = Random(0)
    reasons = ("ValueError: a", "ValueError: a", "KeyError: b", "OSError: c", "TypeError: d")
    failed = [
        replace(trial(number, draw), status="failed", value=None, rungs=(), message=reason)
        for number, reason in enumerate(reasons, start=1)
    ]
    lines = texts(plain_search_result(*failed, best=None), "Failed")
    assert lines[0] == "2 trials, first trial 1: ValueError: a"
    assert len(lines) == 4
    assert lines[-1] == "and for 1 other reason"


def test_a_search_without_a_best_trial_says_what_to_try() -> None:
    result = plain_search_result(stopped_by="interrupted")
    assert texts(result, "Answer")[0].startswith("no trial was completed")
    assert texts(result, "Evidence")[0] == "no trial was started"
    assert "larger budget" in texts(result, "Next")[0]
    assert "interrupted" in texts(result, "Cost")[0]


def test_searches_compared_name_the_best_and_tell_what_a_mean_is() -> None:
    result = search_comparison()
    assert texts(result, "Answer")[0].startswith("best validation accuracy: scored with 98.21 %")
    assert "standard deviation" in texts(result, "Note")[0]
    assert texts(result, "Cost") == ["5 runs, 229 epochs in total"]


def test_a_training_answers_with_both_scores() -> None:
    (answer,) = texts(train_result(), "Answer")
    assert all(fact in answer for fact in ("validation accuracy", "test accuracy 98.61 %", "21 epochs"))
    assert texts(train_result(num_epochs=0, planned=3), "Answer") == ["no epoch was completed"]
    assert texts(train_result(planned=30), "Cost")[0].startswith("21 of 30 epochs")
    assert texts(train_result(), "Weights") == ["weights.safetensors, after epoch 21"]


def test_a_trial_at_the_end_of_a_rung_is_one_line() -> None:
    made = replace(trial(4, Random(0)), params={"lr": 0.00321, "width": 16, "dropout": 0.1}, value=0.95432)
    line = trial_text(made, constants={"dropout"})
    assert line == f"trial 4 after {made.epochs} epochs: 0.9543 (lr 0.00321, width 16)"


@pytest.mark.parametrize("width", [33, 40])
def test_a_number_and_its_unit_stay_together(width: int) -> None:
    lines = layout_lines([("Answer", "it takes just about 8 GiB")], width=width)
    assert [line for line in lines if line.strip().endswith("8 GiB")]


def test_long_words_are_not_broken() -> None:
    path = "reports/" + "x" * 120
    assert layout_lines([("Report", path)], width=40) == [f"Report    {path}"]
