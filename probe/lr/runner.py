"""Measure in this process, or on a GPU in a child process, which is replaced when an error leaves it without the GPU."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from probe.device.failures import OutOfMemory, guarded, out_of_memory, training_error
from probe.errors import ProbeError
from probe.lr.context import ProbeConfig, ProbeContext, ProbeInfo, Untrained, seed_of_test
from probe.lr.curve import points_of, ramp
from probe.lr.plan import LrPlan
from probe.lr.records import ConfirmRun, LrCurve, LrProgress
from probe.workers.child import send_message
from probe.workers.process_state import complete
from probe.workers.worker import Worker

Observer = Callable[[Any], None]


class ProbeRunner(Protocol):
    """Makes the measurements of a probe; see `ProbeContext`."""

    @property
    def info(self) -> ProbeInfo: ...

    @property
    def is_lost(self) -> bool: ...

    def range_test(self, plan: LrPlan, number: int) -> LrCurve: ...

    def train_at_lowest(self, plan: LrPlan, number: int, num_steps: int) -> None: ...

    def untrained(self, plan: LrPlan) -> Untrained: ...

    def run_at(self, plan: LrPlan, lr: float, *, errors_pass: bool) -> ConfirmRun: ...


@contextmanager
def open_runner(config: ProbeConfig, observer: Observer | None, *, in_process: bool) -> Iterator[ProbeRunner]:
    """Build the task and open the device; at the end, restore the random generators or end the child process."""
    if in_process:
        context = ProbeContext(config, observer)
        with context.random_state_kept():
            yield context
        return
    child = _Child(config, observer)
    try:
        yield child
    finally:
        child.close()


class _Child:
    """Makes the measurements in a child process, so that an error of the GPU leaves this process and the next measurement
    unaffected."""

    is_lost = False

    def __init__(self, config: ProbeConfig, observer: Observer | None) -> None:
        self._config = config
        self._observer = observer
        self._worker: Worker | None = None
        self.info: ProbeInfo = self._call(_info)

    def range_test(self, plan: LrPlan, number: int) -> LrCurve:
        losses: list[float] = []

        def receive(record: Any) -> None:
            losses.extend(record.losses if isinstance(record, LrProgress) else ())
            if self._observer is not None:
                self._observer(record)

        try:
            curve: LrCurve = self._call(_measure, "range_test", plan, number, observer=receive)
        except KeyboardInterrupt:
            if not losses:
                raise
            lrs = ramp(plan.lowest_lr, plan.highest_lr, plan.ramp_steps)[: len(losses)]
            points = points_of(lrs, losses, plan.ramp_steps)
            return LrCurve(seed=seed_of_test(self._config.seed, number), points=points, ended_by="interrupted")
        return curve

    def train_at_lowest(self, plan: LrPlan, number: int, num_steps: int) -> None:
        self._call(_measure, "train_at_lowest", plan, number, num_steps)

    def untrained(self, plan: LrPlan) -> Untrained:
        found: Untrained = self._call(_measure, "untrained", plan)
        return found

    def run_at(self, plan: LrPlan, lr: float, *, errors_pass: bool) -> ConfirmRun:
        run: ConfirmRun = self._call(_measure, "run_at", plan, lr, errors_pass=errors_pass)
        return run

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _call(self, function: Callable[..., Any], *args: Any, observer: Observer | None = None, **options: Any) -> Any:
        try:
            if self._worker is None:
                self._worker = Worker(prepare=_import_training, env=self._config.device.environment)
                self._worker.call(_open, self._config)
            found = self._worker.call(function, *args, on_message=observer or self._observer, **options)
        except BaseException:
            self.close()
            raise
        if self._worker.is_spent:
            self.close()
        if isinstance(found, OutOfMemory):
            raise found.as_error()
        return found


_context: ProbeContext | None = None
"""The context of a child process, kept between calls so that data is loaded once per process."""


def _import_training() -> None:
    importlib.import_module("probe.lr.context")


def _open(config: ProbeConfig) -> None:
    global _context
    _context = ProbeContext(config, send_message)
    complete()  # settings that the task makes when it is built stay in force for the measurements, which are later calls


def _opened() -> ProbeContext:
    if _context is None:
        raise RuntimeError("no context was opened in this process")
    return _context


def _info() -> ProbeInfo:
    return _opened().info


def _measure(method: str, *args: Any, **options: Any) -> Any:
    """Call a method of the context. A lack of memory is returned as OutOfMemory."""
    context = _opened()
    return guarded(partial(getattr(context, method), *args, **options), partial(_failure, context.title))


def _failure(title: str, error: Exception) -> OutOfMemory | None:
    lack = out_of_memory(error)
    if lack is None and not isinstance(error, ProbeError):
        raise training_error(title, error) from None
    return lack
