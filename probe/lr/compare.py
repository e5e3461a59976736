"""One learning rate for each of several optimizers or batch sizes, each by a probe of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
) -> tuple[LrComparison, ProbeError | None]:
    """`find_lr`, or what stands for it, for every configuration in `variants`, which differ in `axis`; `options` are its.

    `begin` hears in words what comes next. Ctrl-C keeps what was finished, and what there is of the one that was running. An
    error of the task ends the comparison and comes beside what was found before it; raised where that is nothing.

    Raises UsageError where nothing is compared.
    """
    if not variants:
        raise UsageError(f"There is no {axis.replace('_', ' ')} to compare.")
    source = as_source(task)
    started = time.perf_counter()
    results: list[LrResult] = []
    error: ProbeError | None = None
    interrupted = False
    for params in variants:
        if begin is not None:
            begin(f"{axis.replace('_', ' ')} {params[axis]}")
        try:
            result = find(source, params=params, **options)
        except (ProbeError, KeyboardInterrupt) as raised:
            if not results:
                raise
            interrupted = isinstance(raised, KeyboardInterrupt)
            error = raised if isinstance(raised, ProbeError) else None
            break
        results.append(result)
        interrupted = result.stopped_by == "interrupted"
        if interrupted:
            break
    return LrComparison(
        meta=results[0].meta,
        stopped_by="interrupted" if interrupted else "error" if error is not None else "finished",
        task=source.title,
        axis=axis,
        results=tuple(results),
        seconds=time.perf_counter() - started,
    ), error
