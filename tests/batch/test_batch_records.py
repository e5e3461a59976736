"""Records of batch probes refuse contradictions, so that no page shows one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import (
    GIB,
    attempt,
    batch_result,
    comparison,
    failed_attempt,
    prediction,
    prediction_info,
    variants_compared,
)

from probe.batch.prediction_records import PredictionInfo, TraceCheck
from probe.batch.records import Attempt, VariantSettings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 0}, "at least 1, not 0"),
        ({"outcome": "oom"}, "if and only if it fits"),
        ({"step_seconds": None}, "if and only if it fits"),
        ({"samples_per_second": None}, "if and only if it fits"),
    ],
)
def test_an_attempt_has_a_size_and_has_timings_if_it_fits(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(attempt(8), **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stopped_by": "predicted"}, "with attempts"),
        ({"largest_fit": 512}, "largest_fit=512"),
        ({"recommended": 1}, "recommended=1"),
    ],
)
def test_a_result_names_sizes_that_fit(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        batch_result(**changes)


def test_a_breakdown_adds_up_to_a_peak_that_fits() -> None:
    made = prediction(8 * GIB)
    with pytest.raises(ValueError, match="cache_bytes"):
        replace(made.breakdown, cache_bytes=-1)
    with pytest.raises(ValueError, match="do not fit"):
        replace(made, memory_bytes=made.peak_bytes - 1)
    with pytest.raises(ValueError, match="does not add up"):
        replace(made, peak_bytes=made.peak_bytes - 1)
    assert replace(made, largest_fit=None, memory_bytes=1).largest_fit is None  # not even 1 fits: the peak is that of 1


def test_a_prediction_has_a_trace_or_a_reason() -> None:
    assert PredictionInfo(traced_as=None, failure="no data").curve == ()
    for contradictory in ({"failure": "why"}, {"traced_as": None}):
        with pytest.raises(ValueError, match="either a trace or the reason"):
            replace(prediction_info(), **contradictory)


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_the_error_of_a_prediction_is_relative_to_the_trace(expected: int, traced: int) -> None:
    check = TraceCheck(batch_size=8, expected_bytes=expected, traced_bytes=traced)
    assert check.error == pytest.approx((expected - traced) / traced if traced else 0)
    assert TraceCheck(batch_size=8, expected_bytes=traced, traced_bytes=traced).agrees


def test_variants_are_named_by_what_differs() -> None:
    assert [variant.title for variant in comparison().variants][:2] == ["512 x 512, fp32", "512 x 512, bf16"]
    assert (
        VariantSettings(precision="fp16", activation_checkpointing=True).title == "fp16, with activation checkpointing"
    )
    compiled = VariantSettings(precision="bf16", channels_last=True, compile=True)
    assert (compiled.mode, compiled.title) == ("bf16 + channels_last + compile",) * 2


def test_a_variant_that_ended_in_an_error_tells_its_last_message() -> None:
    [fp32, *_, compiled] = variants_compared().variants
    assert fp32.failure is None
    assert compiled.failure is not None
    assert "TritonMissing" in compiled.failure


def test_only_an_attempt_that_fits_says_so() -> None:
    made: list[Attempt] = [attempt(8), attempt(8, limit=1), failed_attempt(8, "crashed", "segmentation fault")]
    assert [one.fits for one in made] == [True, False, False]
