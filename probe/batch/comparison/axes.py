"""Compare batch sizes across image sizes, precisions and activation checkpointing, with one sweep for each combination."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from probe.batch.comparison.comparison import Comparison
from probe.batch.records import BatchComparison, VariantSettings
from probe.errors import UsageError
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

    def combinations(self, own: VariantSettings) -> Iterator[VariantSettings]:
        """Yield the settings of each variant; image sizes vary slowest. Those that are not compared are as in `own`."""
        for image_size, precision, checkpointing in product(
            self.image_sizes or (None,), self.precisions, self.activation_checkpointing
        ):
            yield replace(own, image_size=image_size, precision=precision, activation_checkpointing=checkpointing)


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
    comparison = Comparison(source, params or {}, begin)
    for settings in axes.combinations(comparison.own_settings):
        comparison.sweep(settings, **arguments)
        if comparison.has_ended:
            break
    return comparison.result()
