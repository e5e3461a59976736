"""The sweep: decide, attempt, record, until everything is known or the user has seen enough."""

from __future__ import annotations

import time
from collections.abc import Callable

from probe.batch.decide import Limits, capped_by, fatal_error, largest_fit, next_attempt, recommended
from probe.batch.records import Attempt, BatchResult, StoppedBy
from probe.batch.runner import AttemptRunner, Facts
from probe.errors import ProbeError, UserCodeError

Observer = Callable[[Attempt], None]


def run_sweep(
    runner: AttemptRunner,
    *,
    task: str,
    start: int,
    max: int | None,
    size_only: bool = False,
    observer: Observer | None = None,
) -> tuple[BatchResult, ProbeError | None]:
    """Find the largest batch that fits and the smallest that is fast enough.

    `task` says in words what is trained. Ctrl-C ends the sweep with what it has. So does an error of the task's own code,
    which is returned beside the result for the caller to raise once the result is safe. `runner` is closed in any case.

    Raises UsageError for limits below 1, and what `runner.open` raises: nothing is measured then.
    """
    Limits(start=start, max=max)  # refuses nonsense before anything is built
    started = time.perf_counter()
    attempts: list[Attempt] = []
    try:
        facts = runner.open()
        limits = Limits(start=start, max=max, num_samples=facts.num_samples, size_only=size_only)
        interrupted, error = _attempt_all(runner, limits, attempts, observer)
    finally:
        runner.close()
    stopped_by: StoppedBy = "nothing_fits" if largest_fit(attempts) is None else "finished"
    if interrupted:
        stopped_by = "interrupted"
    elif fatal_error(attempts):
        stopped_by = "error"
    result = _result(facts, limits, attempts, task, stopped_by, time.perf_counter() - started)
    return result, error if stopped_by == "error" else None


def _attempt_all(
    runner: AttemptRunner, limits: Limits, attempts: list[Attempt], observer: Observer | None
) -> tuple[bool, ProbeError | None]:
    """Fill `attempts`; whether the user interrupted, and the last error of the task's own code."""
    error: ProbeError | None = None
    try:
        while (plan := next_attempt(attempts, limits)) is not None:
            try:
                attempt = runner.run(plan)
            except ProbeError as raised:
                error = raised
                attempt = Attempt(
                    batch_size=plan.batch_size, purpose=plan.purpose, outcome="error", message=_message(raised)
                )
            attempts.append(attempt)
            if observer is not None:
                observer(attempt)
    except KeyboardInterrupt:
        return True, error
    return False, error


def _message(error: ProbeError) -> str:
    return f"{error.message}\n{error.traceback}" if isinstance(error, UserCodeError) else str(error)


def _result(
    facts: Facts, limits: Limits, attempts: list[Attempt], task: str, stopped_by: StoppedBy, seconds: float
) -> BatchResult:
    return BatchResult(
        meta=facts.meta,
        stopped_by=stopped_by,
        task=task,
        optimizer=facts.optimizer,
        precision=facts.precision,
        limit_bytes=facts.limit_bytes,
        num_samples=facts.num_samples,
        largest_fit=largest_fit(attempts),
        recommended=None if limits.size_only else recommended(attempts),
        capped_by=capped_by(attempts, limits),
        attempts=tuple(attempts),
        seconds=seconds,
    )
