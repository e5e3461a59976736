"""How fast the variants of a comparison train: figures and sentences about host, GPU and data loader. Plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from probe.batch.decide import GOOD_ENOUGH, timed_by_size
from probe.batch.records import Attempt, BatchComparison, BatchResult, LoaderSpeed, Variant
from probe.report.shared.wording import plural, shorten
from probe.units import format_count

HOST_FRACTION = 0.8
"""A step is launch-bound if the host takes at least this fraction of its time to queue it. Where the GPU waits for the host,
the two are equal up to noise; where it does not, its time doubles with the batch size."""
NOTABLE_GAIN = 1.2
"""Ratio of throughputs from which another variant is suggested."""


def attempt_at_recommended(variant: Variant) -> Attempt | None:
    """The timing at the recommended size, or at the largest if none is recommended."""
    timed = timed_by_size(variant.result.attempts)
    return timed.get(variant.result.recommended or variant.result.largest_fit or 0)


def rate_at_recommended(variant: Variant) -> float | None:
    """Samples per second at that size."""
    attempt = attempt_at_recommended(variant)
    return None if attempt is None else attempt.samples_per_second


def launches_text(result: BatchComparison, names: Sequence[str]) -> str | None:
    """The variants that are launch-bound, and at which sizes; None if the host's time is not known. `names` are theirs."""
    found = [(name, _launch_bound_sizes(v.result)) for name, v in zip(names, result.variants, strict=True)]
    known = [(name, sizes) for name, sizes in found if sizes is not None]
    if not known:
        return None
    bound = [f"{name} {sizes}" for name, sizes in known if sizes]
    if not bound:
        return "no variant is launch-bound at the sizes that were timed"
    return f"launch-bound, as the GPU waits for the host: {', '.join(bound)}"


def _launch_bound_sizes(result: BatchResult) -> str | None:
    """Sizes at which the GPU waits for the host: `below batch 32`, or empty; None if the host's time is not known."""
    timed = timed_by_size(result.attempts)
    known = {size: is_bound for size, attempt in timed.items() if (is_bound := is_launch_bound(attempt)) is not None}
    if not known:
        return None
    bound = [size for size, is_bound in known.items() if is_bound]
    if not bound:
        return ""
    above = [size for size in known if size > max(bound)]
    return f"below batch {format_count(min(above))}" if above else f"up to batch {format_count(max(bound))}"


def is_launch_bound(attempt: Attempt) -> bool | None:
    """Whether the GPU waits for the host; None if the host's time is not known."""
    if attempt.host_seconds is None or attempt.step_seconds is None:
        return None
    return attempt.host_seconds >= HOST_FRACTION * attempt.step_seconds


def only_mode_differs(result: BatchComparison) -> bool:
    """Whether the variants do the same work on the same samples, so that their throughputs can be compared."""
    return len(result.variants) > 1 and len({(v.image_size, v.activation_checkpointing) for v in result.variants}) == 1


def fastest(result: BatchComparison) -> Variant | None:
    """The first variant within 5 % of the best throughput; None if the first one, or no other, was timed."""
    timed = [(rate, variant) for variant in result.variants if (rate := rate_at_recommended(variant)) is not None]
    if len(timed) < 2 or not only_mode_differs(result) or timed[0][1] is not result.variants[0]:
        return None
    best = max(rate for rate, _ in timed)
    return next(variant for rate, variant in timed if rate >= GOOD_ENOUGH * best)


def speedup(result: BatchComparison) -> float:
    """Throughput of the fastest variant relative to that of the first one; 1 if there is none."""
    variant = fastest(result)
    rate, first = (None if one is None else rate_at_recommended(one) for one in (variant, result.variants[0]))
    return rate / first if rate and first else 1.0


def fastest_text(result: BatchComparison) -> str | None:
    """`bf16 trains 2.3 times as fast as fp32`; None if it is not notably faster."""
    variant = fastest(result)
    if variant is None or speedup(result) < NOTABLE_GAIN:
        return None
    return f"{variant.mode} trains {speedup(result):.1f} times as fast as {result.variants[0].mode}"


def loader_limit(result: BatchComparison) -> LoaderSpeed | None:
    """The fastest data loader that was measured if it is slower than the fastest training; None otherwise."""
    measured = [speed for speed in result.loader if speed.samples_per_second is not None]
    best = max(measured, key=lambda speed: speed.samples_per_second or 0.0, default=None)
    return best if best is not None and (best.samples_per_second or 0.0) < consumption(result) else None


def consumption(result: BatchComparison) -> float:
    """Samples per second that the fastest variant trains on."""
    return max((rate_at_recommended(variant) or 0.0 for variant in result.variants), default=0.0)


def loader_text(result: BatchComparison) -> str | None:
    """What the data loader delivers and training consumes, in samples per second; None if no loader was measured."""
    if not result.loader:
        return None
    delivered = ", ".join(map(speed_text, result.loader))
    used = consumption(result)
    return delivered + (f"; training consumes up to {format_count(used)} samples/s" if used else "")


def speed_text(speed: LoaderSpeed) -> str:
    """`1,210 samples/s with 4 workers`."""
    how = f"with {plural(speed.num_workers, 'worker')}" if speed.num_workers else "without workers"
    if speed.samples_per_second is None:
        return f"an error {how} ({shorten(speed.failure or 'no message')})"
    return f"{format_count(speed.samples_per_second)} samples/s {how}"


def loader_warning(result: BatchComparison) -> str | None:
    """A warning that training waits for the data loader; None if it does not."""
    limit = loader_limit(result)
    if limit is None:
        return None
    return (
        f"Training waits for the data: it could use {format_count(consumption(result))} samples/s, and the loader delivers "
        f"{speed_text(limit)}. More num_workers, cheaper transforms or Task.cache help."
    )


def next_step(result: BatchComparison) -> str | None:
    """Settings that make training notably faster, as far as the data loader allows; None if there are none."""
    variant, limit = fastest(result), loader_limit(result)
    if variant is None:
        return None
    first, rate = result.variants[0], rate_at_recommended(variant) or 0.0
    attainable = rate if limit is None else min(rate, limit.samples_per_second or 0.0)
    if attainable < NOTABLE_GAIN * (rate_at_recommended(first) or math.inf):
        return None
    changed = [name for name, value in variant.params.items() if value != first.params[name]]
    settings = " and ".join(f"{name} = {_as_toml(variant.params[name])}" for name in changed)
    return (
        f"set {settings}, in [space] of a recipe or in params, and check that the score is as good as with {first.mode}"
    )


def _as_toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
