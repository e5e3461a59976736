"""Compare batch sizes across image sizes, precisions and activation checkpointing, with one sweep for each combination."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from probe.batch.find import find_batch_size
from probe.batch.records import BatchComparison, BatchResult, StoppedBy, Variant, variant_title
from probe.errors import ProbeError, UsageError
from probe.records import Precision
from probe.task import Task
from probe.tasks.source import NamedSource, TaskSource, as_source


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """The values to compare. Raises UsageError if an axis has no values or repeats one."""

    image_sizes: tuple[int, ...] = ()
    """Heights and widths of the images; empty for the task's own size."""
    precisions: tuple[Precision, ...] = ("fp32",)
    activation_checkpointing: tuple[bool, ...] = (False,)

    def __post_init__(self) -> None:
        for name in ("precisions", "activation_checkpointing"):
            if not getattr(self, name):
                raise UsageError(f"A comparison needs at least one value of {name}.")
        for name in ("image_sizes", "precisions", "activation_checkpointing"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise UsageError(f"The values of {name} in a comparison must be different, not {values}.")

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yield the fields of each variant; image sizes vary slowest."""
        names = ("image_size", "precision", "activation_checkpointing")
        for values in product(self.image_sizes or (None,), self.precisions, self.activation_checkpointing):
            yield dict(zip(names, values, strict=True))


def compare_batch_sizes(
    task: Task | TaskSource,
    axes: Axes,
    *,
    params: Mapping[str, Any] | None = None,
    begin: Callable[[str], None] | None = None,
    **arguments: Any,
) -> BatchComparison:
    """Run a sweep, or a prediction, for every combination in `axes`.

    Ctrl-C ends the comparison with the variants so far, including the partial result of the current one.

    Args:
        task: the task to train.
        axes: the values to compare.
        params: hyperparameters that all combinations share.
        begin: called with the title of each combination before its sweep.
        **arguments: arguments of `find_batch_size`.

    Raises:
        UsageError: image sizes are given for data that cannot be resized.
        ProbeError: as in `find_batch_size`. Its `result` is the BatchComparison measured until then, or None.
    """
    source = as_source(task)
    if axes.image_sizes and not isinstance(source, NamedSource):
        raise UsageError(
            f"The images of {source.title} cannot be resized by probe.",
            hint="Image sizes can be compared for named models: --model NAME.",
        )
    started = time.perf_counter()
    variants: list[Variant] = []
    error: ProbeError | None = None
    interrupted = False
    for combination in axes.combinations():
        if begin is not None:
            begin(variant_title(**combination))
        changed = {name: value for name, value in combination.items() if name != "image_size"}
        resized = source
        if combination["image_size"] is not None and isinstance(source, NamedSource):
            resized = replace(source, image_size=combination["image_size"])
        result: BatchResult | None = None
        try:
            result = find_batch_size(resized, params={**(params or {}), **changed}, **arguments)
        except ProbeError as raised:
            result, error = raised.result, raised
        except KeyboardInterrupt:
            if not variants:
                raise
            interrupted = True
        if result is not None:
            variants.append(Variant(**combination, result=result))
            interrupted = result.stopped_by == "interrupted"
        if error is not None or interrupted:
            break
    if error is not None and not variants:
        raise error
    unsized = replace(source, image_size=None) if axes.image_sizes and isinstance(source, NamedSource) else source
    seconds = time.perf_counter() - started
    comparison = _comparison(unsized.title, variants, seconds, error, interrupted=interrupted)
    if error is not None:
        error.result = comparison
        raise error
    return comparison


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
