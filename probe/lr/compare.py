"""Compare the learning rates of several optimizers or batch sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from probe.errors import ProbeError, UsageError
from probe.lr.find import find_lr
from probe.lr.records import Axis, LrComparison, LrResult
from probe.task import Task
from probe.tasks.source import TaskSource, as_source


def compare_lrs(
    task: Task | TaskSource,
    variants: Sequence[Mapping[str, Any]],
    *,
    axis: Axis,
    find: Callable[..., LrResult] = find_lr,
    begin: Callable[[str], None] | None = None,
    **options: Any,
) -> LrComparison:
    """Find a learning rate for each of several configurations. Ctrl-C ends the comparison with the results so far.

    Args:
        variants: hyperparameters of each configuration; they differ in `axis`.
        find: called for each variant, as `find_lr`, with `options`.
        begin: called with the name of each variant, like `optimizer adam`.

    Raises:
        UsageError: there are no variants.
        ProbeError: a variant failed. If an earlier one succeeded, the error's `result` is the comparison so far.
    """
    if not variants:
        raise UsageError(f"There is no {axis.replace('_', ' ')} to compare.")
    source = as_source(task)
    started = time.perf_counter()
    results: list[LrResult] = []

    def comparison(stopped_by: Literal["finished", "interrupted", "error"]) -> LrComparison:
        return LrComparison(
            meta=results[0].meta,
            stopped_by=stopped_by,
            task=source.title,
            axis=axis,
            results=tuple(results),
            seconds=time.perf_counter() - started,
        )

    for params in variants:
        if begin is not None:
            begin(f"{axis.replace('_', ' ')} {params[axis]}")
        try:
            results.append(find(source, params=params, **options))
        except ProbeError as error:
            if results:
                error.result = comparison("error")
            raise
        except KeyboardInterrupt:
            if not results:
                raise
            return comparison("interrupted")
        if results[-1].stopped_by == "interrupted":
            return comparison("interrupted")
    return comparison("finished")
