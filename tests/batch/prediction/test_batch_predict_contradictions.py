"""Measurements that contradict the prediction."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from scripted_device import ScriptedDevice, ScriptedRunner, line_model

from probe.batch.decide import Limits, NextAttempt
from probe.batch.prediction.predict import NOTABLE_ERROR
from probe.batch.records import BatchResult
from probe.batch.sweep import run_sweep
from probe.report.batch.sentences import batch_warnings


def sweep(device: ScriptedDevice, *, fixed_bytes: int, bytes_per_sample: int) -> BatchResult:
    """Run a sweep on `device` with the memory model of another device."""
    found = line_model(fixed_bytes=fixed_bytes, bytes_per_sample=bytes_per_sample)
    result, _ = run_sweep(ScriptedRunner(device, found=found), task="scripted", limits=Limits())
    return result


DEVICE = ScriptedDevice(fixed_bytes=100, bytes_per_sample=10, limit_bytes=1000)


def test_a_prediction_that_is_right_contradicts_nothing() -> None:
    assert sweep(DEVICE, fixed_bytes=100, bytes_per_sample=10).contradictions == ()


def test_a_size_that_fits_though_it_was_not_predicted_to() -> None:
    result = sweep(DEVICE, fixed_bytes=100, bytes_per_sample=50)
    assert (result.predictions[0].largest_fit, result.largest_fit) == (16, 64)
    found = {one.kind: one for one in result.contradictions}
    assert found["fits"].batch_size == 64
    assert "Batch size 64 fits, although it was predicted not to." in batch_warnings(result)
    assert found["peak"].error is not None
    assert found["peak"].error > 1


def test_a_size_that_does_not_fit_though_it_was_predicted_to() -> None:
    result = sweep(DEVICE, fixed_bytes=100, bytes_per_sample=2)
    assert (result.predictions[0].largest_fit, result.largest_fit) == (256, 64)
    found = {one.kind: one for one in result.contradictions}
    assert found["does not fit"].batch_size == 128  # the smallest of those that were tried
    assert found["does not fit"].measured_bytes is None
    assert any("Batch size 128 does not fit, although it was predicted to" in text for text in batch_warnings(result))


def test_a_failure_that_has_nothing_to_do_with_memory_contradicts_nothing() -> None:
    device = replace(DEVICE, kernel_limit=32)
    assert sweep(device, fixed_bytes=100, bytes_per_sample=10).contradictions == ()


def test_without_a_prediction_there_is_nothing_to_contradict() -> None:
    result, _ = run_sweep(ScriptedRunner(DEVICE), task="scripted", limits=Limits())
    assert result.contradictions == ()


@given(st.integers(50, 200), st.integers(5, 20))
def test_a_peak_is_reported_if_and_only_if_it_is_far_off(fixed_bytes: int, bytes_per_sample: int) -> None:
    result = sweep(DEVICE, fixed_bytes=fixed_bytes, bytes_per_sample=bytes_per_sample)
    expected = (
        {point.batch_size: point.allocated_bytes for point in result.prediction_info.curve}
        if result.prediction_info
        else {}
    )
    measured = {
        attempt.batch_size: DEVICE.attempt(NextAttempt(attempt.batch_size, "size")).memory
        for attempt in result.attempts
        if attempt.fits and attempt.batch_size in expected
    }
    errors = [
        abs(expected[size] - one.peak_allocated_bytes) / one.peak_allocated_bytes
        for size, one in measured.items()
        if one is not None
    ]
    is_reported = any(one.kind == "peak" for one in result.contradictions)
    assert is_reported == (max(errors, default=0) > NOTABLE_ERROR)
