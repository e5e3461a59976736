"""Compare the ways to train that a device offers: precisions, a memory format for convolutions, and compilation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from probe.batch.comparison.comparison import Comparison
from probe.batch.comparison.task_look import TaskLook, look_at_task
from probe.batch.context import ProbeInfo
from probe.batch.records import BatchComparison, Variant, VariantSettings
from probe.batch.sweep import Announce, News, SweepOptions
from probe.task import Task
from probe.tasks.source import TaskSource, as_source

COMPILED_CURVE_SIZES = 2
"""Number of sizes in the throughput curve of a compiled model, which is compiled again for each of them."""


def compare_variants(
    task: Task | TaskSource,
    *,
    params: Mapping[str, Any] | None = None,
    begin: Callable[[str], None] | None = None,
    start: int | None = None,
    confirm_steps: int = 0,
    options: SweepOptions | None = None,
    **arguments: Any,
) -> BatchComparison:
    """Run a sweep for each way to train that the device offers, and measure the data loader.

    The first variant is fp32. On a GPU the others are tf32, bf16, bf16 with `channels_last` if the model has convolutions, and
    the last of these compiled. On the CPU they are those with bf16 that are not compiled. Without a GPU, memory is predicted
    for fp32 and bf16. After the first variant, a sweep starts at the largest size of the previous one and predicts nothing, and
    an error is part of the variant's result.

    Ctrl-C ends the comparison with the variants so far, including the partial result of the current one.

    Args:
        task: the task to train.
        params: hyperparameters that all variants share, except `precision`, `channels_last` and `compile`.
        begin: called with the title of each variant before its sweep.
        start: first size of the first sweep.
        confirm_steps: as in `find_batch_size`; by default, no size is confirmed.
        options: as in `find_batch_size`.
        **arguments: other arguments of `find_batch_size`.

    Raises:
        ProbeError: as in `find_batch_size`. Its `result` is the BatchComparison measured until then, or None.
    """
    source, options = as_source(task), options or SweepOptions()
    comparison = Comparison(source, params or {}, begin)
    plain = replace(comparison.own_settings, precision="fp32", channels_last=False, compile=False)
    opened = _Opened(options.announce)
    arguments["confirm_steps"] = confirm_steps
    comparison.sweep(plain, start=start, options=replace(options, announce=opened), **arguments)
    if comparison.has_ended or opened.info is None:
        return comparison.result()
    info, first, look = opened.info, comparison.variants[0].result, TaskLook()
    if info.device_problem is None:
        arguments |= {"device": info.device, "memory": None, "predict": False}
        options = replace(options, rankings=info.rankings)
        with comparison.until_interrupted():
            look = look_at_task(
                source,
                {**comparison.params, **plain.params},
                batch_size=first.recommended or first.largest_fit or 1,
                in_process=arguments.get("in_process", False),
                env=info.device.environment,
                begin=begin,
                announce=opened,
            )
    for settings in other_variants(plain, info, has_convolutions=look.has_convolutions):
        if comparison.has_ended:
            break
        options = replace(options, curve_sizes=COMPILED_CURVE_SIZES if settings.compile else None)
        size = largest_known(comparison.variants)
        comparison.sweep(settings, may_fail=True, start=size, options=options, **arguments)
    return comparison.result(look.loader)


def other_variants(plain: VariantSettings, info: ProbeInfo, *, has_convolutions: bool) -> tuple[VariantSettings, ...]:
    """Return the variants to try on a device after `plain`. Each has one change more than the one before. Pure."""
    bf16 = replace(plain, precision="bf16")
    if info.device_problem is not None:
        return (bf16,)
    last = replace(bf16, channels_last=has_convolutions)
    if not info.device.is_gpu:
        return tuple(dict.fromkeys((bf16, last)))
    return tuple(dict.fromkeys((replace(plain, precision="tf32"), bf16, last, replace(last, compile=True))))


def largest_known(variants: Sequence[Variant]) -> int:
    """Return the size at which the next sweep starts: the largest of the last variant that fits at all, or 1. Pure."""
    sizes = [variant.result.largest_fit for variant in variants if variant.result.largest_fit is not None]
    return sizes[-1] if sizes else 1


@dataclass(slots=True)
class _Opened:
    """Passes announcements on, and keeps what is known once the first sweep has opened its device."""

    announce: Announce | None
    info: ProbeInfo | None = None

    def __call__(self, news: News) -> None:
        if isinstance(news, ProbeInfo):
            self.info = news
        if self.announce is not None:
            self.announce(news)
