"""What is said of the samples and batches that an answer rests on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import attempt, batch_result, nothing_fits_result

from probe.batch.records import Attempt, BatchResult, MemoryGrowth, SampleCoverage
from probe.cli.answers import answer_lines
from probe.report.batch.figures import max_fraction_above
from probe.report.batch.page import batch_page
from probe.report.batch.sample_text import confirmation_text, ranking_texts, sample_warnings
from probe.report.batch.sentences import batch_warnings
from probe.units import format_bytes


def confirmed(coverage: tuple[SampleCoverage, ...] = (), *, extra_bytes: int = 0, **changes: Any) -> BatchResult:
    """A result whose confirming attempt is changed."""
    found = batch_result(samples=coverage)
    last = found.attempts[-1]
    assert last.memory is not None
    memory = replace(
        last.memory,
        peak_allocated_bytes=last.memory.peak_allocated_bytes + extra_bytes,
        peak_reserved_bytes=last.memory.peak_reserved_bytes + extra_bytes,
    )
    return replace(found, attempts=(*found.attempts[:-1], replace(last, memory=memory, **changes)))


@given(st.integers(1, 10_000))
def test_the_bound_is_what_would_go_unnoticed_once_in_twenty_times(num_batches: int) -> None:
    share = max_fraction_above(num_batches)
    assert (1 - share) ** num_batches == pytest.approx(0.05)
    assert share <= 3 / num_batches, "the rule of three"


def test_the_bound_and_the_epochs_are_told_on_screen_and_in_the_report() -> None:
    result = confirmed(num_batches=100, batches_per_epoch=40)
    text = confirmation_text(result)
    assert text is not None
    assert all(fact in text for fact in ("batch 64", "100 shuffled batches", "2 whole epochs", "95 %", "2.95 %"))
    assert text in [row for _, row in answer_lines(result)]
    assert text[1:] in batch_page(result, [])


def test_synthetic_data_are_not_said_to_be_shuffled() -> None:
    text = confirmation_text(confirmed(num_batches=100))
    assert text is not None
    assert "shuffled" not in text
    assert "epoch" not in (confirmation_text(confirmed(num_batches=30, batches_per_epoch=40)) or "epoch")


def test_where_nothing_was_confirmed_nothing_is_said() -> None:
    assert confirmation_text(batch_result(attempts=(attempt(64),))) is None
    assert confirmation_text(nothing_fits_result()) is None


def coverage(**changes: Any) -> SampleCoverage:
    fields: dict[str, Any] = {"split": "train", "num_samples": 12_000, "num_measured": 12_000}
    return SampleCoverage(**fields | changes)


def test_samples_that_differ_are_told_with_what_they_were_ranked_by() -> None:
    result = confirmed((coverage(ranked_by=("total size", "[1].value")), coverage(split="val")))
    (text,) = ranking_texts(result)
    assert all(fact in text for fact in ("12,000 training samples", "total size", "[1].value"))
    assert sample_warnings(result) == []
    assert text[1:] in batch_page(result, []).replace("\\", "")


def test_what_was_not_measured_is_a_warning() -> None:
    partly = coverage(num_measured=3000, ranked_by=("total size",))
    (text,) = sample_warnings(confirmed((partly,)))
    assert "3,000 of 12,000 training samples" in text
    assert "3,000 of 12,000 training samples" in ranking_texts(confirmed((partly,)))[0]
    (text,) = sample_warnings(confirmed((coverage(split="val", unmeasured=("Mesh", "Scene")),)))
    assert "Mesh, Scene in validation samples" in text
    alike = coverage(num_measured=64)
    assert sample_warnings(confirmed((alike,))) == ranking_texts(confirmed((alike,))) == []


def test_memory_that_sizes_do_not_explain_is_a_warning() -> None:
    assert sample_warnings(confirmed(num_batches=100)) == []
    assert sample_warnings(confirmed(num_batches=100, extra_bytes=1000)) == []
    (text,) = sample_warnings(confirmed(num_batches=100, extra_bytes=2**30))
    assert f"{format_bytes(2**30)} more than the largest samples" in text
    assert "100 batches" in text
    assert text in batch_warnings(confirmed(num_batches=100, extra_bytes=2**30))


def growing(tried: Attempt, last_step: int) -> Attempt:
    return replace(tried, growth=MemoryGrowth(bytes_per_step=1.5 * 2**20, last_step=last_step))


def test_memory_that_grows_is_a_warning_with_the_step_at_which_it_ends() -> None:
    result = confirmed(
        num_batches=30,
        batches_per_epoch=30,
        extra_bytes=2**30,
        growth=MemoryGrowth(bytes_per_step=1.5 * 2**20, last_step=340),
    )
    (text,) = sample_warnings(result)
    assert all(fact in text for fact in ("1.50 MiB", "batch 64", "step 340"))


def test_where_growth_used_up_the_memory_the_step_is_a_fact() -> None:
    failed = growing(replace(attempt(8, limit=1), purpose="confirm"), 17)
    (text,) = sample_warnings(nothing_fits_result(attempts=(failed,)))
    assert "ran out of memory in step 17" in text
