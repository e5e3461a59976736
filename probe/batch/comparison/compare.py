"""Image sizes, precisions, with and without activation checkpointing: what each buys, found by a sweep of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from probe.batch.comparison.records import BatchComparison, Variant, variant_title
from probe.batch.find import probe_batch_size
from probe.batch.records import BatchResult, StoppedBy
from probe.errors import ProbeError, UsageError
from probe.records import Precision
from probe.task import Task
from probe.tasks.source import NamedSource, TaskSource, as_source


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """What is compared with what. Raises UsageError where nothing is."""

    image_sizes: tuple[int, ...] = ()
    """Height and width; empty: the task's own."""
    precisions: tuple[Precision, ...] = ("fp32",)
    activation_checkpointing: tuple[bool, ...] = (False,)

    def __post_init__(self) -> None:
        for name in ("precisions", "activation_checkpointing"):
            if not getattr(self, name):
                raise UsageError(f"A comparison needs {name}.")
        for name in ("image_sizes", "precisions", "activation_checkpointing"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise UsageError(f"A comparison names each of its {name.replace('_', ' ')} once, not {values}.")

    def combinations(self) -> Iterator[tuple[int | None, Precision, bool]]:
        """(image size, precision, checkpointing), image sizes slowest."""
        for image_size in self.image_sizes or (None,):
            for precision in self.precisions:
                for activation_checkpointing in self.activation_checkpointing:
                    yield image_size, precision, activation_checkpointing


def compare_batch_sizes(
    task: Task | TaskSource,
    axes: Axes,
    *,
    params: Mapping[str, Any] | None = None,
    begin: Callable[[str], None] | None = None,
    **options: Any,
) -> tuple[BatchComparison, ProbeError | None]:
    """A sweep, or a prediction, for every combination in `axes`; `options` are those of `probe_batch_size`.

    `begin` hears in words what comes next. Ctrl-C keeps the combinations that were finished, and what there is of the one
    that was running. An error of the task ends the comparison and comes beside what was found before it.

    Raises UsageError where image sizes are asked of data that cannot be resized, and as `probe_batch_size` where not even
    the first combination can be started.
    """
    source = as_source(task)
    if axes.image_sizes and not isinstance(source, NamedSource):
        raise UsageError(
            f"The images of {source.title} cannot be resized from outside.",
            hint="Image sizes are compared for named models: --model NAME.",
        )
    started = time.perf_counter()
    variants: list[Variant] = []
    error: ProbeError | None = None
    interrupted = False
    for image_size, precision, activation_checkpointing in axes.combinations():
        if begin is not None:
            begin(variant_title(image_size, precision, activation_checkpointing=activation_checkpointing))
        sized = source
        if image_size is not None and isinstance(source, NamedSource):
            sized = replace(source, image_size=image_size)
        settings = {**(params or {}), "precision": precision, "activation_checkpointing": activation_checkpointing}
        try:
            result, error = probe_batch_size(sized, params=settings, **options)
        except (ProbeError, KeyboardInterrupt) as raised:
            if not variants:
                raise
            interrupted = isinstance(raised, KeyboardInterrupt)
            error = raised if isinstance(raised, ProbeError) else None
            break
        variants.append(
            Variant(
                image_size=image_size,
                precision=precision,
                activation_checkpointing=activation_checkpointing,
                result=result,
            )
        )
        interrupted = result.stopped_by == "interrupted"
        if error is not None or interrupted:
            break
    unsized = replace(source, image_size=None) if axes.image_sizes and isinstance(source, NamedSource) else source
    return _comparison(unsized.title, variants, time.perf_counter() - started, error, interrupted=interrupted), error


def _comparison(
    task: str, variants: Sequence[Variant], seconds: float, error: ProbeError | None, *, interrupted: bool
) -> BatchComparison:
    first: BatchResult = variants[0].result
    endings = {variant.result.stopped_by for variant in variants}
    stopped_by: StoppedBy = "finished"
    if error is not None:
        stopped_by = "error"
    elif interrupted:
        stopped_by = "interrupted"
    elif endings <= {"predicted", "nothing_fits"} and len(endings) == 1:
        stopped_by = first.stopped_by
    return BatchComparison(
        meta=first.meta,
        stopped_by=stopped_by,
        task=task,
        optimizer=first.optimizer,
        variants=tuple(variants),
        seconds=seconds,
    )
