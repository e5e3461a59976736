"""Which variant is fastest, where the GPU waits for the host, and what a data loader allows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_records import comparison, timed_variant, variants_compared

from probe.batch.records import BatchComparison, LoaderSpeed, VariantSettings
from probe.cli.answers import answer_lines, layout_lines
from probe.report.batch.comparison import comparison_page, comparison_summary, comparison_table
from probe.report.batch.speed import fastest, launches_text, loader_warning, next_step
from probe.report.store import write_report

FP32 = VariantSettings()
BF16 = VariantSettings(precision="bf16")
LAST = VariantSettings(precision="bf16", channels_last=True)


def compared(*sample_seconds: float, host_seconds: float = 1e-4, loader: float | None = None) -> BatchComparison:
    """fp32, bf16, and bf16 with channels last, by the time that each needs for a sample."""
    variants = [
        timed_variant(settings, host_seconds=host_seconds, sample_seconds=seconds)
        for settings, seconds in zip((FP32, BF16, LAST), sample_seconds, strict=False)
    ]
    speeds = [LoaderSpeed(num_workers=4, batch_size=64, num_batches=9, samples_per_second=rate) for rate in [loader]]
    return variants_compared(variants=tuple(variants), loader=tuple(speeds) if loader else ())


@pytest.mark.parametrize(
    ("sample_seconds", "mode"),
    [
        ((1e-3, 5e-4, 2e-4), "bf16 + channels_last"),
        ((1e-3, 5e-4, 4.9e-4), "bf16"),  # within 5 %, so the smaller change
        ((1e-3, 1.01e-3, 9.9e-4), "fp32"),
    ],
)
def test_the_first_variant_within_5_percent_of_the_best_is_the_fastest(
    sample_seconds: tuple[float, ...], mode: str
) -> None:
    variant = fastest(compared(*sample_seconds))
    assert variant is not None
    assert variant.mode == mode


@pytest.mark.parametrize(
    ("sample_seconds", "loader", "said"),
    [
        ((1e-3, 5e-4, 2e-4), None, ['precision = "bf16"', "channels_last = true"]),
        ((1e-3, 5e-4, 4.9e-4), None, ['precision = "bf16"']),
        ((1e-3, 9e-4, 8.5e-4), None, []),  # less than 20 %
        ((1e-3, 5e-4, 2e-4), 1100.0, []),  # the loader allows no more than 10 %
        ((1e-3, 5e-4, 2e-4), 3000.0, ['precision = "bf16"']),
        ((1e-3,), None, []),
    ],
)
def test_a_variant_is_suggested_if_it_gains_20_percent(
    sample_seconds: tuple[float, ...], loader: float | None, said: list[str]
) -> None:
    result = compared(*sample_seconds, loader=loader)
    text = next_step(result)
    assert all(part in (text or "") for part in said)
    assert (text is None) == (not said)
    assert [label for label, _ in comparison_summary(result).lines].count("Next") == bool(said)


@pytest.mark.parametrize(
    ("loader", "waits"),
    [(900.0, True), (1e6, False), (None, False)],
)
def test_training_waits_for_a_loader_that_delivers_less_than_it_consumes(loader: float | None, waits: bool) -> None:
    warning = loader_warning(compared(1e-3, 5e-4, loader=loader))
    assert (warning is not None) == waits
    assert not waits or all(number in str(warning) for number in ("900", "2,000", "4 workers"))


@pytest.mark.parametrize(
    ("host_seconds", "said"),
    [
        (1e-4, "no variant is launch-bound"),  # 8 samples take 8 ms
        (20e-3, "fp32 below batch 32"),
        (10.0, "fp32 up to batch 512"),
    ],
)
def test_a_variant_is_launch_bound_where_the_host_takes_as_long_as_the_step(host_seconds: float, said: str) -> None:
    assert said in str(launches_text(compared(1e-3, host_seconds=host_seconds), ["fp32"]))


def test_a_device_that_queues_nothing_has_no_host_time() -> None:
    variants = tuple(
        timed_variant(one, host_seconds=None, sample_seconds=seconds) for one, seconds in ((FP32, 1e-3), (BF16, 2e-3))
    )
    result = variants_compared(variants=variants, loader=())
    assert launches_text(result, ["fp32", "bf16"]) is None
    assert comparison_table(result).header == ("precision", "largest", "recommended", "samples/s", "peak memory")
    assert "launch-bound" not in comparison_page(result, [])


def test_image_sizes_are_not_compared_by_their_throughput() -> None:
    assert fastest(comparison()) is None
    assert next_step(comparison()) is None


def test_the_page_has_the_curves_and_the_reason_why_a_variant_is_missing(tmp_path: Path) -> None:
    text = write_report(variants_compared(), tmp_path).read_text(encoding="utf-8")
    assert {"comparison.png", "speed.png"} <= {file.name for file in tmp_path.iterdir()}
    assert "](speed.png)" in text
    [row] = [line for line in text.splitlines() if line.startswith("| bf16 + channels\\_last + compile |")]
    assert set(row.split("|")[2:-1]) == {" - "}
    assert text.count("TritonMissing") == 3  # below the table, in the section of the variant, and in its attempts
    assert "nothing fits" not in text


def test_an_interrupted_comparison_of_one_variant_has_a_page(tmp_path: Path) -> None:
    first = variants_compared().variants[:1]
    result = variants_compared(variants=first, stopped_by="interrupted", loader=())
    text = write_report(result, tmp_path).read_text(encoding="utf-8")
    assert "interrupted" in text
    assert not (tmp_path / "speed.png").exists()


def test_all_columns_fit_on_a_wide_terminal_and_the_important_ones_on_a_usual_one() -> None:
    lines: Any = answer_lines(variants_compared())
    wide, usual = ("\n".join(layout_lines(lines, width=width)) for width in (100, 80))
    assert all(name in wide for name in ("largest", "samples/s", "peak memory", "host time", "GPU time"))
    assert all(name in usual for name in ("largest", "samples/s", "peak memory", "launch-bound"))
    assert max(map(len, usual.splitlines())) <= 80


def test_a_loader_that_failed_is_quoted() -> None:
    failed = LoaderSpeed(num_workers=2, batch_size=64, failure="OSError: too many open files")
    summary = comparison_summary(replace(compared(1e-3, 5e-4), loader=(failed,)))
    assert "too many open files" in str(dict(summary.lines)["Loader"])
