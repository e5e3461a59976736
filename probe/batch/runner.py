"""Run attempts and traces in a child process, which is replaced after a failure, or in this process."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Protocol

from probe.batch.context import ProbeConfig, ProbeContext, ProbeInfo
from probe.batch.decide import NextAttempt
from probe.batch.prediction.build_memory_model import lost_trace
from probe.batch.prediction.memory_model import MemoryModel, Untraceable
from probe.batch.prediction.predict import TargetGpus
from probe.batch.records import Attempt
from probe.errors import UserCodeError, first_line
from probe.system.gpu_errors import STICKY_HINT, sticky_gpu_error
from probe.units import format_seconds
from probe.workers.death import WorkerDied
from probe.workers.process_state import complete
from probe.workers.worker import Worker


class AttemptRunner(Protocol):
    """Makes attempts. Tests use a scripted implementation."""

    def open(self) -> ProbeInfo:
        """Build the task and open the device. Raises ProbeError if either fails."""

    def build_memory_model(self, gpus: TargetGpus) -> MemoryModel | Untraceable:
        """Trace the memory of training as a function of the batch size, at the sizes that matter for `gpus`."""

    def run(self, upcoming: NextAttempt, timeout_seconds: float | None = None) -> Attempt:
        """Try one size, for at most `timeout_seconds` if attempts have a process of their own. Raises a ProbeError only for
        errors that do not depend on the size."""

    def close(self) -> None: ...


class ChildRunner:
    """Makes attempts in a child process until one fails, so that leaks, a broken CUDA context or the host's out-of-memory
    killer do not affect this process. Confirming attempts start a new child."""

    def __init__(self, config: ProbeConfig) -> None:
        self._config = config
        self._worker: Worker | None = None
        self._is_fresh = True

    def open(self) -> ProbeInfo:
        self._worker = Worker(prepare=_import_training, env=self._config.device.environment)
        info: ProbeInfo = self._worker.call(_open_context, self._config)
        self._config = replace(self._config, device=info.device, rankings=info.rankings)
        self._is_fresh = True
        return info

    def build_memory_model(self, gpus: TargetGpus) -> MemoryModel | Untraceable:
        if self._worker is None:
            self.open()
        assert self._worker is not None  # `open` made it
        try:
            model: MemoryModel | Untraceable = self._worker.call(_build_memory_model, gpus)
        except WorkerDied as death:
            self.close()
            return lost_trace(death)
        return model

    def run(self, upcoming: NextAttempt, timeout_seconds: float | None = None) -> Attempt:
        if self._worker is not None and upcoming.purpose == "confirm" and not self._is_fresh:
            self.close()
        attempt: Attempt | None = None
        try:
            if self._worker is None:
                self.open()
            self._is_fresh = False
            assert self._worker is not None  # `open` made it
            attempt = self._worker.call(_run_attempt, upcoming, timeout_seconds=timeout_seconds)
        except WorkerDied as death:
            attempt = _lost(upcoming, death)
        except TimeoutError:
            attempt = _stopped(upcoming, timeout_seconds or 0.0)
        finally:
            is_spent = self._worker is not None and self._worker.is_spent
            if is_spent or attempt is None or not attempt.fits or attempt.traceback is not None:
                self.close()  # an error may have made the CUDA context unusable
        return attempt

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


class InProcessRunner:
    """Makes attempts in this process, for tasks that cannot be pickled. An attempt that crashes ends this process, and after a
    sticky error of the GPU no attempt is possible."""

    def __init__(self, config: ProbeConfig) -> None:
        self._config = config
        self._context: ProbeContext | None = None

    def open(self) -> ProbeInfo:
        return self._opened().info

    def build_memory_model(self, gpus: TargetGpus) -> MemoryModel | Untraceable:
        return self._opened().build_memory_model(gpus)

    def run(self, upcoming: NextAttempt, timeout_seconds: float | None = None) -> Attempt:
        from probe.loading.random_state import random_state_kept

        context = self._opened()
        if context.device is None:
            return context.run(upcoming)
        with random_state_kept(context.device.torch_device):
            attempt = context.run(upcoming)
        if sticky_gpu_error() is not None and attempt.traceback is not None:  # nothing can be said about other sizes
            raise UserCodeError(first_line(attempt.message or ""), traceback=attempt.traceback, hint=STICKY_HINT)
        if not attempt.fits:
            context.discard_failed()
        return attempt

    def close(self) -> None:
        self._context = None

    def _opened(self) -> ProbeContext:
        if self._context is None:
            self._context = ProbeContext(self._config)
        return self._context


_context: ProbeContext | None = None
"""The context of a child process, kept between calls so that data is loaded once per process."""


def _open_context(config: ProbeConfig) -> ProbeInfo:
    global _context
    _context = ProbeContext(config)
    complete()  # settings that the task makes when it is built stay in force for the attempts, which are later calls
    return _context.info


def _import_training() -> None:
    importlib.import_module("probe.batch.attempt")


def _build_memory_model(gpus: TargetGpus) -> MemoryModel | Untraceable:
    return _opened_context().build_memory_model(gpus)


def _run_attempt(upcoming: NextAttempt) -> Attempt:
    return _opened_context().run(upcoming)


def _opened_context() -> ProbeContext:
    if _context is None:
        raise RuntimeError("no context was opened in this process")
    return _context


def _stopped(upcoming: NextAttempt, seconds: float) -> Attempt:
    stopped = f"stopped after {format_seconds(seconds)}"
    cause = "the driver may have moved memory to the host, which is slow"
    return upcoming.failed("timed_out", f"{stopped}: {cause}; a longer --attempt-timeout lets it finish")


def _lost(upcoming: NextAttempt, death: WorkerDied) -> Attempt:
    """Return the attempt of a child that died: signal 9 means a lack of host memory, anything else a crash."""
    if death.died.lacked_memory:
        return upcoming.failed("host_oom", f"its process {death.died.summary}")
    return upcoming.failed("crashed", death.message)
