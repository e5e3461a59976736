"""The parent's side of a worker: a persistent child process that runs calls, and whose death is an ordinary event."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from probe.errors import DeviceError, ProbeError, TaskError
from probe.system.host_memory import free_memory_bytes
from probe.workers.child import CLOSE, SPENT, decode, encode, read_frame, write_frame
from probe.workers.death import Died, WorkerDied
from probe.workers.process_state import child_environment

_STDERR_KEPT_BYTES = 16 * 1024
_CLOSE_SECONDS = 2.0

_arrived = threading.Condition()
"""Notified when an event of any worker arrives."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that the function sent with `probe.workers.child.send_message`."""

    value: Any


@dataclass(frozen=True, slots=True)
class Returned:
    """The call returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The call raised an exception. Any but a ProbeError becomes a UserCodeError with the traceback of the child."""

    error: ProbeError


Event = Message | Returned | Raised | Died


class Worker:
    """A child process that runs one call at a time, so that imports (PyTorch takes seconds) are paid for once.

    The child ignores Ctrl-C, SIGTERM and SIGHUP, and exits when this process ends. Its output is hidden; the end of it is part
    of `Died`. `prepare` is called once in the child, to import what calls need; after each call, settings are restored to the
    state after it (see `probe.workers.process_state`).
    """

    def __init__(
        self,
        *,
        num_threads: int | None = None,
        env: Mapping[str, str] | None = None,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self._events: deque[bytes | Died] = deque()
        self._stderr: deque[bytes] = deque()
        self._busy = False
        self._is_spent = False
        self._died: Died | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "probe.workers"],  # -P: ignore a folder named probe in the working directory
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(num_threads, env or {}),
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_answers, self._read_stderr)]
        self._waiter = threading.Thread(target=self._wait_for_death, daemon=True)
        for thread in (*self._readers, self._waiter):
            thread.start()
        self._send(encode([str(Path(entry).absolute()) for entry in sys.path]))
        self._send(encode(prepare))

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def busy(self) -> bool:
        """Whether a call was submitted whose end has not been read."""
        return self._busy

    @property
    def is_spent(self) -> bool:
        """Whether the last call left the GPU unusable for the child, which then exits. Known at the end of that call."""
        return self._is_spent

    def call(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        on_message: Callable[[Any], None] | None = None,
        timeout_seconds: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run `function(*args, **kwargs)` in the child and return its result; `on_message` gets the messages that it sends.
        Raises its ProbeError (any other exception becomes a UserCodeError), WorkerDied, TaskError for what cannot be
        pickled, or TimeoutError, after which the child is dead."""
        self.submit(function, *args, **kwargs)
        deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            events = wait_any([self], deadline - time.monotonic())
            if not events and time.monotonic() >= deadline:
                self.kill()
                raise TimeoutError(f"a call took longer than {timeout_seconds} seconds")
            for _, event in events:
                match event:
                    case Message(value):
                        if on_message is not None:
                            on_message(value)
                    case Returned(value):
                        return value
                    case Raised(error):
                        raise error
                    case Died():
                        raise WorkerDied(event)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Start a call, whose messages and end `wait_any` returns. Raises TaskError, WorkerDied."""
        if self._busy:
            raise RuntimeError("a worker runs one call at a time")
        if self._died is not None:
            raise WorkerDied(self._died)
        try:
            payload = encode((function, args, kwargs))
        except Exception as error:
            name = getattr(function, "__qualname__", type(function).__name__)
            raise TaskError(
                f"{name} and its arguments cannot be sent to a worker process: {type(error).__name__}: {error}",
                hint="Create open files, locks and generators inside the functions of the Task.",
            ) from None
        self._busy = True
        self._send(payload)

    def close(self) -> None:
        """End the child: ask it to exit if it is idle, and kill it otherwise."""
        with contextlib.suppress(subprocess.TimeoutExpired), contextlib.ExitStack() as last:
            last.callback(self.kill)  # also after Ctrl-C
            if self._process.poll() is None and not self._busy:
                self._send(CLOSE)
                self._process.wait(_CLOSE_SECONDS)
        self._waiter.join()
        with contextlib.suppress(OSError):  # the dead child has not read all bytes
            _pipe(self._process.stdin).close()

    def kill(self) -> None:
        """Kill the child and its own children. `Died` is reported as for any other death."""
        if self._process.poll() is None:
            _kill_group(self._process)

    def _send(self, payload: bytes) -> None:
        with contextlib.suppress(OSError):  # a broken pipe: the child died, which `_wait_for_death` reports
            write_frame(_pipe(self._process.stdin), payload)

    def _take_events(self) -> list[Event]:
        events = []
        while self._events:
            item = self._events.popleft()
            event = item if isinstance(item, Died) else decode_event(item)
            if isinstance(event, Died):
                self._died = event
            if not isinstance(event, Message):
                self._busy = False
            events.append(event)
        return events

    def _post(self, item: bytes | Died) -> None:
        with _arrived:
            self._events.append(item)
            _arrived.notify_all()

    def _read_answers(self) -> None:
        with _pipe(self._process.stdout) as stream:
            while (payload := read_frame(stream)) is not None:
                if payload == SPENT:
                    self._is_spent = True
                else:
                    self._post(payload)

    def _read_stderr(self) -> None:
        kept = 0
        with _pipe(self._process.stderr) as stream:
            while part := stream.read1(4096):  # type: ignore[attr-defined]  # Popen's pipes are BufferedReaders
                self._stderr.append(part)
                kept += len(part)
                while kept - len(self._stderr[0]) > _STDERR_KEPT_BYTES:
                    kept -= len(self._stderr.popleft())

    def _wait_for_death(self) -> None:
        exit_code = self._process.wait()
        free_bytes = None
        with contextlib.suppress(OSError):  # no file can be opened
            free_bytes = free_memory_bytes()
        for reader in self._readers:
            reader.join(1.0)
            if reader.is_alive():  # a process that the child forked, like a DataLoader's, still has the pipe
                _kill_group(self._process)
                reader.join()
        stderr = b"".join(self._stderr)[-_STDERR_KEPT_BYTES:].decode(errors="replace")
        self._post(Died(exit_code, stderr, free_bytes))


def wait_any(workers: Sequence[Worker], timeout_seconds: float | None) -> list[tuple[Worker, Event]]:
    """Return all events that have arrived, in order for each worker. Waits up to `timeout_seconds` (None: without limit) for
    the first."""
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    with _arrived:
        while not any(worker._events for worker in workers):
            # In slices, for Ctrl-C on Windows.
            left = 0.5 if deadline is None else min(0.5, deadline - time.monotonic())
            if left <= 0:
                return []
            _arrived.wait(left)
    return [(worker, event) for worker in workers for event in worker._take_events()]


def decode_event(payload: bytes) -> Message | Returned | Raised:
    """The event that a child sent with `probe.workers.child.Channel.send`."""
    try:
        kind, value = decode(payload)
    except Exception as error:
        text = f"A result of a worker process could not be unpickled: {type(error).__name__}: {error}"
        return Raised(TaskError(text))
    if kind == "message":
        return Message(value)
    return Returned(value) if kind == "returned" else Raised(value)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the child and its children are one process group
    else:
        process.kill()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("the child was started without its pipes")
    return stream


def broadcast(workers: Sequence[Worker], gpus: Sequence[str], function: Callable[..., Any], /, *args: Any) -> list[Any]:
    """Run `function(*args)` in every idle worker and return the results in order; messages are ignored. `gpus` name the GPU
    that each worker sees in a DeviceError, because each calls its own cuda:0. Raises the error of the first worker that fails;
    the others may still be busy, so close all."""
    seen_by = {id(worker): gpu for worker, gpu in zip(workers, gpus, strict=True)}
    for worker in workers:
        worker.submit(function, *args)
    found: dict[int, Any] = {}
    while len(found) < len(workers):
        for worker, event in wait_any(workers, None):
            match event:
                case Returned(value):
                    found[id(worker)] = value
                case Raised(DeviceError() as error):
                    message = f"In the worker that sees only GPU {seen_by[id(worker)]}: {error.message}"
                    raise DeviceError(message, hint=error.hint)
                case Raised(error):
                    raise error
                case Died():
                    raise WorkerDied(event)
    return [found[id(worker)] for worker in workers]
