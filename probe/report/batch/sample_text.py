"""Sentences about the samples and batches that a batch probe used. Plain text."""

from __future__ import annotations

from probe.batch.records import BatchResult, SampleCoverage
from probe.report.batch.figures import confirmation, largest_samples_peak, max_fraction_above
from probe.report.shared.wording import plural
from probe.units import format_bytes, format_count, format_percent

_PARTS = {"train": "training", "val": "validation"}
_NOTABLE_EXCESS = 0.02
"""Fraction of the peak below which a difference is rounding of the allocator."""


def confirmation_text(result: BatchResult) -> str | None:
    """What the confirming run shows about the data set: on how many batches the size fitted. None without one."""
    attempt = confirmation(result)
    if attempt is None or not attempt.num_batches:
        return None
    size, count = format_count(attempt.batch_size), format_count(attempt.num_batches)
    batches = f"{count} batches"
    if attempt.batches_per_epoch is not None:
        whole = attempt.num_batches // attempt.batches_per_epoch
        batches = f"{count} shuffled batches" + (f" ({plural(whole, 'whole epoch')})" if whole else "")
    fraction = format_percent(max_fraction_above(attempt.num_batches))
    return f"batch {size} fitted on {batches}: with 95 % confidence, at most {fraction} of batches need more memory"


def ranking_texts(result: BatchResult) -> list[str]:
    """How the costliest samples of each split were found, if samples differ or not all of them were measured."""
    texts = []
    for coverage in result.samples:
        of = f"{format_count(coverage.num_samples)} {_PARTS[coverage.split]} samples"
        of = of if _is_complete(coverage) else f"{format_count(coverage.num_measured)} of {of}"
        if coverage.ranked_by:
            texts.append(f"measured with the largest of {of}, by {', '.join(coverage.ranked_by)}")
    return texts


def _is_complete(coverage: SampleCoverage) -> bool:
    return coverage.num_measured >= coverage.num_samples


def sample_warnings(result: BatchResult) -> list[str]:
    """Warnings about samples that were not measured, and memory that depends on more than their size or grows by step."""
    texts = [text for coverage in result.samples for text in _coverage_warnings(coverage)]
    return [text for text in (*texts, _excess_text(result), _growth_text(result)) if text is not None]


def _coverage_warnings(coverage: SampleCoverage) -> list[str]:
    part, texts = _PARTS[coverage.split], []
    if coverage.unmeasured:
        texts.append(
            f"The size of {', '.join(coverage.unmeasured)} in {part} samples could not be measured: larger ones than those "
            "measured may exist."
        )
    if coverage.ranked_by and not _is_complete(coverage):
        texts.append(
            f"Only {format_count(coverage.num_measured)} of {format_count(coverage.num_samples)} {part} samples, drawn at "
            "random, could be measured in time: a larger one may exist."
        )
    return texts


def _excess_text(result: BatchResult) -> str | None:
    attempt = confirmation(result)
    if attempt is None or attempt.memory is None or attempt.growth is not None:
        return None
    size, peak = format_count(attempt.batch_size), attempt.memory.peak_allocated_bytes
    excess = peak - largest_samples_peak(result, attempt.batch_size)
    if excess <= _NOTABLE_EXCESS * peak:
        return None
    return (
        f"Shuffled batches of {size} took up to {format_bytes(peak)}, {format_bytes(excess)} more than the largest samples: "
        "memory depends on more than the size of samples. How much is known only from the "
        f"{format_count(attempt.num_batches)} batches of that run."
    )


def _growth_text(result: BatchResult) -> str | None:
    growing = [attempt for attempt in result.attempts if attempt.growth is not None]
    if not growing:
        return None
    attempt = next((one for one in growing if one.fits and one.batch_size == result.largest_fit), growing[-1])
    assert attempt.growth is not None
    rate, step = format_bytes(round(attempt.growth.bytes_per_step)), format_count(attempt.growth.last_step)
    end = f"at this rate training ends at about step {step}" if attempt.fits else f"it ran out of memory in step {step}"
    return (
        f"Memory grows by {rate} in every training step at batch {format_count(attempt.batch_size)}: {end}. The code keeps "
        "tensors of earlier steps, such as a list of losses or features: keep numbers (.item()) or detached CPU tensors."
    )
