"""What a comparison of ways to train says, worked out once for the report and the terminal. Pure; plain text in its cells."""

from __future__ import annotations

from dataclasses import dataclass

from probe.batch.decide import timed_by_size
from probe.batch.records import BatchComparison, Variant
from probe.report.batch.summary import peak_at, taken_bytes
from probe.units import format_bytes, format_count, format_gpu_memory

NONE = "-"


@dataclass(frozen=True, slots=True)
class ComparisonTable:
    """A column for what differs between variants; what they share is `common`, in words."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_settings: int
    """Columns that say what the variant is; the numbers follow."""
    common: str


def short_names(result: BatchComparison) -> list[str]:
    """Names of the variants without what they have in common; the full one where there is only one variant."""
    variants = result.variants
    parts = [
        (
            f"{v.image_size} x {v.image_size}",
            v.precision,
            "with checkpointing" if v.activation_checkpointing else "without",
        )
        for v in variants
    ]
    differing = [column for column in range(3) if len({part[column] for part in parts}) > 1]
    if not differing:
        return [variant.title for variant in variants]
    return [", ".join(part[column] for column in differing) for part in parts]


def is_predicted(result: BatchComparison) -> bool:
    """Whether no variant was run."""
    return bool(result.variants) and all(variant.result.stopped_by == "predicted" for variant in result.variants)


def rate_at_recommended(variant: Variant) -> float | None:
    """Samples per second at the recommended size; at the largest where none is recommended."""
    timed = timed_by_size(variant.result.attempts)
    attempt = timed.get(variant.result.recommended or variant.result.largest_fit or 0)
    return None if attempt is None else attempt.samples_per_second


def megapixel_rate(variant: Variant) -> float | None:
    """Millions of pixels per second at the recommended size, which compares images of different size."""
    rate = rate_at_recommended(variant)
    return None if rate is None or variant.image_size is None else rate * variant.image_size**2 / 1e6


def sample_noun(result: BatchComparison) -> str:
    return "images" if any(variant.image_size is not None for variant in result.variants) else "samples"


def comparison_table(result: BatchComparison) -> ComparisonTable:
    """One row for each variant: sizes and speed where it was run, a column for each card where it was not."""
    settings = [(name, values) for name, values in _settings(result)]
    differing = [(name, values) for name, values in settings if len(set(values)) > 1]
    common = [
        f"{name} {value}"
        if name != "activation_checkpointing"
        else f"{'with' if value == 'yes' else 'without'} checkpointing"
        for name, (value, *_) in ((name, values) for name, values in settings if len(set(values)) == 1)
        if value != NONE
    ]
    numbers = _card_columns(result) if is_predicted(result) else _measured_columns(result)
    columns = [*differing, *numbers]
    return ComparisonTable(
        header=tuple(name for name, _ in columns),
        rows=tuple(zip(*(values for _, values in columns), strict=True)),
        num_settings=len(differing),
        common=", ".join(common),
    )


def _settings(result: BatchComparison) -> list[tuple[str, list[str]]]:
    return [
        ("image size", [NONE if v.image_size is None else f"{v.image_size} x {v.image_size}" for v in result.variants]),
        ("precision", [v.precision for v in result.variants]),
        ("activation_checkpointing", ["yes" if v.activation_checkpointing else "no" for v in result.variants]),
    ]


def _card_columns(result: BatchComparison) -> list[tuple[str, list[str]]]:
    cards = sorted({p.memory_bytes for variant in result.variants for p in variant.result.predictions})
    columns = []
    for card in cards:
        sizes = [
            next((p.largest_fit for p in variant.result.predictions if p.memory_bytes == card), None)
            for variant in result.variants
        ]
        columns.append((format_gpu_memory(card), [_count(size) for size in sizes]))
    return columns


def _measured_columns(result: BatchComparison) -> list[tuple[str, list[str]]]:
    noun = sample_noun(result)
    columns = [
        ("largest", [_largest(v) for v in result.variants]),
        ("recommended", [_count(v.result.recommended) for v in result.variants]),
        (f"{noun}/s", [_count(rate_at_recommended(v)) for v in result.variants]),
    ]
    if noun == "images":
        columns.append(("megapixels/s", [_count(megapixel_rate(v)) for v in result.variants]))
    return [*columns, ("peak memory", [_peak(v) for v in result.variants])]


def _largest(variant: Variant) -> str:
    return _count(variant.result.largest_fit) + ("+" if _is_capped(variant) else "")


def _is_capped(variant: Variant) -> bool:
    return variant.result.largest_fit is not None and variant.result.capped_by in ("max", "data")


def cap_text(result: BatchComparison) -> str | None:
    """What a plus behind a size means; None where there is none."""
    return "+: larger ones were not tried" if any(_is_capped(variant) for variant in result.variants) else None


def _count(value: float | None) -> str:
    return NONE if value is None else format_count(value)


def _peak(variant: Variant) -> str:
    """Taken of the device at the largest size that fits."""
    peak = peak_at(variant.result, variant.result.largest_fit)
    return NONE if peak is None else format_bytes(taken_bytes(variant.result, peak))
