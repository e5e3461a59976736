"""What the report of a batch probe says of predictions, the device, alternatives and comparisons."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_records import (
    ALTERNATIVES,
    DEVICE_MEMORY,
    GIB,
    attempt,
    batch_result,
    checked_result,
    comparison,
    failed_attempt,
    nothing_fits_result,
    predicted_result,
    prediction,
    prediction_info,
)
from record_strategies import attempts, comparisons

from probe.batch.prediction_records import Contradiction, PredictionInfo, TraceCheck
from probe.batch.records import Attempt
from probe.records import MemoryReading
from probe.report.batch.comparison import comparison_page, comparison_table
from probe.report.batch.figures import check_prediction, collapsed_sizes, headroom_bytes, step_spread
from probe.report.batch.page import attempts_table, batch_page
from probe.report.batch.sentences import batch_warnings, check_text, needs_text, predicted_answer, traces_text
from probe.report.store import write_report

quick = settings(deadline=None, max_examples=25)


def timed(batch_size: int, rate: float) -> Attempt:
    return Attempt(
        batch_size=batch_size,
        purpose="size",
        outcome="fits",
        step_seconds=batch_size / rate,
        samples_per_second=rate,
        memory=MemoryReading(peak_allocated_bytes=1, peak_reserved_bytes=1),
    )


def test_a_collapse_of_throughput_names_the_sizes_above_it() -> None:
    assert collapsed_sizes([timed(1, 10), timed(2, 20), timed(4, 19), timed(8, 9.9), timed(16, 3)]) == (8, 16)
    assert collapsed_sizes([timed(1, 10), timed(2, 5), timed(4, 40)]) == ()
    assert collapsed_sizes([]) == ()
    (text,) = batch_warnings(batch_result(attempts=(timed(64, 100), timed(128, 10))))
    assert text.startswith("Throughput at batch 128 is below half")


@given(st.lists(attempts(), max_size=8))
@quick
def test_collapsed_sizes_fit_and_never_hold_the_fastest(tried: list[Attempt]) -> None:
    collapsed = collapsed_sizes(tried)
    assert list(collapsed) == sorted(set(collapsed))
    assert set(collapsed) <= {one.batch_size for one in tried if one.fits}


def test_the_spread_is_half_the_interquartile_range() -> None:
    made = replace(attempt(8), step_seconds=0.1, step_seconds_low=0.09, step_seconds_high=0.12)
    assert step_spread(made) == pytest.approx(0.15)
    assert step_spread(timed(1, 1.0)) is None


def test_errors_are_quoted_as_a_limit_and_as_a_size_that_is_too_small() -> None:
    too_large = failed_attempt(128, "error", "RuntimeError: Unable to find a valid cuDNN algorithm\nmore of it")
    too_few = failed_attempt(4, "error", "RuntimeError: selected index k out of range")
    result = batch_result(attempts=(too_large, attempt(64), too_few), capped_by="error")
    text = batch_page(result, ())
    before_attempts = text.split("| batch size |")[0]
    assert "Batch 4 is too small for this task: RuntimeError: selected index k out of range." in before_attempts
    assert "between 64, which fits, and 128: error" in before_attempts
    assert "Unable to find a valid cuDNN algorithm" in before_attempts
    assert "more of it" not in before_attempts
    assert "a larger size may fit" not in before_attempts


def test_a_timeout_is_quoted_as_a_limit() -> None:
    too_slow = failed_attempt(128, "timed_out", "stopped after 2 min 00 s")
    text = batch_page(batch_result(attempts=(too_slow, attempt(64)), recommended=64, capped_by="timeout"), ())
    assert "Batch 128 took too long, so it counts as a limit: stopped after 2 min 00 s" in text
    assert "between 64, which fits, and 128: took too long" in text


def test_a_spread_wider_than_the_rule_is_told() -> None:
    doubt = "exceeds the 5 % of the rule"
    assert "345 samples/s ± 1.5 %" in batch_page(batch_result(), [])
    assert "85 % of the best" in batch_page(batch_result(recommended=32), [])
    assert doubt not in batch_page(batch_result(), [])
    wide = tuple(
        replace(one, step_seconds_high=1.5 * one.step_seconds) if one.step_seconds else one
        for one in batch_result().attempts
    )
    assert doubt in batch_page(batch_result(attempts=wide), [])


def test_headroom_leaves_room_for_the_context() -> None:
    plain, on_gpu = headroom_bytes(batch_result()), headroom_bytes(checked_result())
    assert plain is not None
    assert on_gpu == plain - DEVICE_MEMORY.context_bytes
    assert headroom_bytes(nothing_fits_result()) is None


def test_prediction_and_measurement_stand_side_by_side() -> None:
    result = checked_result()
    check = check_prediction(result)
    assert check is not None
    assert check.batch_size == 64
    assert abs(check.error) < 0.01
    assert all(fact in (check_text(result) or "") for fact in ("batch 64", "4.73 GiB", "4.71 GiB", "+0.4 %"))
    text = batch_page(result, [])
    assert "| used of the device | 4.73 GiB | 4.71 GiB | +0.4 % |" in text
    assert "Predicted: batch 64 fits, with a peak of 4.73 GiB. Measured: batch 64 fits." in text
    assert "(`fake cpu`)" in text
    assert "- operators run as on the CPU" in text


def test_a_wrong_prediction_is_told() -> None:
    over = checked_result(predictions=(prediction(24 * GIB),))
    assert (check_text(over) or "").startswith("predicted: batch 256, and 4.73 GiB for batch 64; ")
    nothing = checked_result(predictions=(prediction(GIB // 4),))
    assert (check_text(nothing) or "").startswith("predicted: nothing fits, and ")
    assert "Predicted: nothing fits, as batch size 1 needs" in batch_page(nothing, [])


def test_the_traces_that_check_a_prediction_are_named() -> None:
    agreeing = TraceCheck(batch_size=128, expected_bytes=GIB, traced_bytes=GIB)
    off = TraceCheck(batch_size=64, expected_bytes=GIB // 10, traced_bytes=GIB)
    assert traces_text(prediction_info()) is None
    one = replace(prediction_info(), checks=(agreeing,))
    assert (traces_text(one) or "").endswith("a trace of batch size 128, which agrees")
    several = replace(prediction_info(), checks=(agreeing, off))
    assert (traces_text(several) or "").startswith("batch size 64 and 128 had to be traced as well")
    for checked in (one, several):
        text = traces_text(checked) or "?"
        assert text[1:] in batch_page(checked_result(prediction_info=checked), [])


def test_a_measurement_that_contradicts_the_prediction_is_a_warning() -> None:
    peak = Contradiction(kind="peak", batch_size=64, predicted_bytes=GIB, measured_bytes=4 * GIB)
    result = checked_result(contradictions=(peak,))
    (told,) = (text for text in batch_warnings(result) if "contradicts" in text)
    assert "-75.0 %" in told
    assert "contradicts the measurement at batch size 64" in batch_page(result, [])


def test_why_there_is_no_prediction_is_one_sentence() -> None:
    failed = PredictionInfo(traced_as=None, failure="the step reads a value out of a tensor.")
    result = batch_result(prediction_info=failed)
    assert "There is no prediction: the step reads a value out of a tensor.\n" in batch_page(result, [])
    assert check_text(result) is None
    assert "## Prediction" not in batch_page(batch_result(), [])


def test_without_a_gpu_the_report_is_a_table_of_cards(tmp_path: Path) -> None:
    result = predicted_result()
    text = write_report(result, tmp_path).read_text(encoding="utf-8")
    answer = text.split("\n\n")[1]
    assert all(fact in answer for fact in ("atch 64 ", "8 GiB", "atch 2,048 ", "141 GiB", "predicted, not measured"))
    assert "A prediction is not a measurement" in text
    assert (
        "| 24 GiB | 256 | 17.0 GiB | 32.0 MiB | 32.0 MiB | 64.0 MiB | 15.2 GiB | 64.0 MiB | 1.08 GiB | 512 MiB |"
        in text
    )
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "result.json", "memory.png"}


def test_one_card_and_none_that_fits() -> None:
    assert predicted_answer(predicted_result(8)) == (
        "the largest batch that should fit in 8 GiB is 64 (predicted, not measured)"
    )
    none = predicted_result(1, sample_bytes=GIB)
    assert predicted_answer(none).startswith("nothing should fit in 1 GiB, not even batch size 1, which needs 1.7")
    assert "--precision bf16" in batch_page(none, [])
    mixed = predicted_result(1, 8, sample_bytes=GIB)
    assert predicted_answer(mixed).startswith("batch 4 should fit on a GPU with 8 GiB")
    assert needs_text(mixed) is not None
    assert "| 1 GiB | - | 1.7" in batch_page(mixed, [])
    assert needs_text(predicted_result()) is None


def test_the_training_set_bounds_what_is_of_use() -> None:
    assert "The training set has 1,500 samples" in batch_page(predicted_result(num_samples=1500), [])
    assert "The training set has" not in batch_page(predicted_result(8, num_samples=1500), [])


def test_the_device_as_it_is() -> None:
    text = batch_page(checked_result(), [])
    assert r"python (pid 4711, 2.00 GiB), some\|viewer (pid 815). Their 3.00 GiB are subtracted." in text
    assert "A GPU with 8 GiB is emulated" in text
    assert "the measured CUDA context of 512 MiB is subtracted" in text
    odd = replace(DEVICE_MEMORY, others=(), others_bytes=9 * GIB, emulated_bytes=None, is_integrated=True)
    told = batch_warnings(batch_result(device_memory=odd))
    assert told[0].startswith("9.00 GiB of the device were in use before this run")
    assert "host" in told[1]
    assert len(told) == 2
    quiet = replace(odd, others_bytes=GIB, is_integrated=False)
    assert batch_warnings(batch_result(device_memory=quiet)) == []
    assert "In use before this run: 1.00 GiB" in batch_page(batch_result(device_memory=quiet), [])


def test_the_host_has_a_column_only_where_it_was_read() -> None:
    assert "host peak" in attempts_table([attempt(8), timed(16, 1.0)])
    assert "host peak" not in attempts_table([timed(16, 1.0)])


def test_where_nothing_fits_there_is_a_plan() -> None:
    text = batch_page(nothing_fits_result(alternatives=ALTERNATIVES), [])
    assert "| images of 128 x 128 | 4 | 124 MiB |" in text
    assert "batch size 32 with gradient\\_accumulation = 8" in text
    assert "--optimizer sgd" in batch_page(nothing_fits_result(), [])


def test_a_comparison_has_a_row_for_each_variant_and_no_column_that_never_differs(tmp_path: Path) -> None:
    text = write_report(comparison(), tmp_path).read_text(encoding="utf-8")
    answer = text.split("\n\n")[1]
    assert all(fact in answer for fact in ("16 (512 x 512, fp32)", "256 (128 x 128, fp32)"))
    assert "without activation checkpointing." in text
    assert "| image size | precision | largest | recommended | images/s | megapixels/s | peak memory |" in text
    assert "| 256 x 256 | bf16 | 128 | 64 | 513 | 33.6 | 4.65 GiB |" in text
    assert text.count("<details>") == text.count("</details>") == 6
    assert (tmp_path / "comparison.png").exists()


def test_a_predicted_comparison_has_a_column_for_each_card(tmp_path: Path) -> None:
    text = write_report(comparison(predicted=True), tmp_path).read_text(encoding="utf-8")
    assert "| image size | precision | 8 GiB | 12 GiB | 16 GiB |" in text
    assert "| 512 x 512 | fp32 | 16 | 32 | 32 | 64 |" in text
    assert "A prediction is not a measurement" in text
    assert (tmp_path / "comparison.png").exists()


def test_data_without_image_sizes_is_counted_in_samples() -> None:
    variants = tuple(replace(variant, image_size=None) for variant in comparison().variants[:2])
    made = comparison_table(comparison(variants=variants))
    assert made.header == ("precision", "largest", "recommended", "samples/s", "peak memory")
    assert "image" not in re.sub(
        "images", "", comparison_page(comparison(variants=variants), []).split("## Settings")[0]
    )


def test_a_cap_is_marked() -> None:
    assert "larger sizes were not tried" not in comparison_page(comparison(), [])
    first, second, *_ = comparison().variants
    capped = comparison(variants=(replace(first, result=replace(first.result, capped_by="max")), second))
    text = comparison_page(capped, [])
    assert "| fp32 | 16+ | 8 |" in text
    assert "\n\n+: larger sizes were not tried.\n\n" in text


def test_variants_that_do_not_fit_are_named() -> None:
    first, second, *_ = comparison().variants
    result = comparison(variants=(replace(first, result=nothing_fits_result(alternatives=ALTERNATIVES)), second))
    text = comparison_page(result, [])
    assert "**The largest batch that fits is 32; nothing fits for fp32.**" in text
    assert "| fp32 | - | - | - | - | - |" in text
    assert "| bf16 | 2 | 119 MiB |" in text


@given(comparisons())
@quick
def test_a_comparison_table_has_a_row_for_each_variant(result: object) -> None:
    made = comparison_table(result)  # type: ignore[arg-type]  # hypothesis gives what the strategy makes
    assert all(len(row) == len(made.header) for row in made.rows)


def test_a_forecast_draws_beside_points_that_it_does_not_reach(tmp_path: Path) -> None:
    write_report(checked_result(prediction_info=prediction_info(2)), tmp_path)
    assert (tmp_path / "memory.png").exists()


def test_what_is_odd_about_a_size_that_fits_is_a_warning() -> None:
    result = batch_result()
    message = "the loss is nan: memory and speed are measured all the same"
    attempts = tuple(replace(one, message=message) if one.fits else one for one in result.attempts)
    warnings = batch_warnings(replace(result, attempts=attempts))
    assert warnings[-1] == "The loss is nan: memory and speed are measured all the same."
    assert warnings.count(warnings[-1]) == 1
