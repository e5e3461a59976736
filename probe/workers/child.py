"""The child's side of a worker: runs the calls of the parent one after another, and sends back what they return or raise.

The pipes to the parent are moved away from file descriptors 0 and 1 before any code of the user runs. `print` in the user's
code goes to standard error, whose end the parent keeps, and standard input is empty. When the pipe from the parent closes, the
parent has ended, for whatever reason, and the child exits at once, even during a call.

Messages between parent and child are frames: eight bytes of length (big endian), then that many bytes of cloudpickle.
`stream_call` runs a call in a process that another framework started, like a worker of Ray.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import queue
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, Any, Protocol

import cloudpickle

from probe.errors import ProbeError, TaskError, UserCodeError, user_code_error
from probe.system.gpu_errors import sticky_gpu_error
from probe.system.interrupts import ignore_interrupts
from probe.workers.process_state import begin, complete, put_back

_LENGTH = struct.Struct(">Q")

CLOSE = b""
"""The empty frame: the parent asks the child to exit."""
SPENT = b"spent"
"""Frame before the end of a call after which the child exits, because it cannot use its GPU any more."""


def write_frame(stream: IO[bytes], payload: bytes) -> None:
    stream.write(_LENGTH.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """The next frame, or None at the end of the stream, also if it ends inside a frame because the writer died."""
    head = _read_exactly(stream, _LENGTH.size)
    return None if head is None else _read_exactly(stream, _LENGTH.unpack(head)[0])


def encode(value: Any) -> bytes:
    """Pickle a value. Functions of the caller's script or notebook are pickled by value, those of modules by name."""
    return cloudpickle.dumps(value)  # type: ignore[no-any-return]  # cloudpickle has no annotations


def decode(payload: bytes) -> Any:
    """Unpickle a value. Only for frames of our own children and our own parent, because unpickling runs code."""
    return cloudpickle.loads(payload)


def _read_exactly(stream: IO[bytes], num_bytes: int) -> bytes | None:
    buffer = io.BytesIO()
    while buffer.tell() < num_bytes:
        part = stream.read(min(num_bytes - buffer.tell(), 2**20))
        if not part:
            return None
        buffer.write(part)
    return buffer.getvalue()


class Channel(Protocol):
    """The way back to the caller."""

    def send(self, kind: str, value: Any) -> None:
        """Send a `message` during the call, or `returned` or `raised` at its end. Raises the errors of pickling `value`."""


class _Pipe:
    """A pipe to the parent, with a lock because threads of the user's code may send messages."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.is_spent = False

    def send(self, kind: str, value: Any) -> None:
        payload = encode((kind, value))
        self.is_spent = kind != "message" and sticky_gpu_error() is not None
        with self._lock:
            if self.is_spent:
                write_frame(self._stream, SPENT)
            write_frame(self._stream, payload)


_channel: Channel | None = None


def send_message(message: Any) -> None:
    """Send progress from inside a call to the parent, where it arrives in order, before the result. Does nothing outside of a
    worker process."""
    if _channel is not None:
        _channel.send("message", message)


def in_worker() -> bool:
    """Whether this process runs calls for another one, so that it may cache objects between calls."""
    return _channel is not None


def main() -> None:
    """Serve calls until the parent closes the worker, or an error of the GPU leaves it unusable for this process."""
    global _channel
    calls_from, answers_to = _take_over_pipes()
    ignore_interrupts()  # the parent handles them, and closes the pipe
    faulthandler.enable()
    pipe = _channel = _Pipe(answers_to)
    frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read_calls, args=(calls_from, frames), daemon=True).start()
    paths = decode(frames.get())
    sys.path[:] = _working_folder_last(paths)  # the modules of `prepare` are not files of the user with the same names
    prepare = decode(frames.get())
    if prepare is not None:
        begin(partial(_prepare, prepare, paths))
    sys.path[:] = paths
    while not pipe.is_spent and (payload := frames.get()) != CLOSE:
        serve_call(pipe, payload)


def _prepare(prepare: Callable[[], object], paths: list[str]) -> None:
    prepare()
    sys.path[:] = paths


def _working_folder_last(paths: list[str]) -> list[str]:
    with contextlib.suppress(FileNotFoundError):  # the folder was removed
        folder = os.getcwd()
        return sorted(paths, key=lambda path: path == folder)
    return paths


def _take_over_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Move the pipes from and to the parent to descriptors that other code does not know and subprocesses do not inherit."""
    calls_from, answers_to = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return calls_from, answers_to


def _read_calls(stream: IO[bytes], frames: queue.SimpleQueue[bytes]) -> None:
    while (payload := read_frame(stream)) is not None:
        frames.put(payload)
    os._exit(1)  # the parent has ended, so the result of a running call is not needed


@contextlib.contextmanager
def messages_to(channel: Channel) -> Iterator[None]:
    """Redirect `send_message` to `channel`, in a process that was not started by `main`."""
    global _channel
    before, _channel = _channel, channel
    try:
        yield
    finally:
        _channel = before


def serve_call(channel: Channel, payload: bytes) -> None:
    """Run the encoded (function, args, kwargs), send its result or error, and restore the settings of the process. Raises only
    OSError, if the channel is broken."""
    with put_back():
        _serve(channel, payload)


def _serve(channel: Channel, payload: bytes) -> None:
    try:
        function, args, kwargs = _decode_call(payload)
    except Exception as error:
        text = f"A worker process could not unpickle a call: {type(error).__name__}: {error}"
        channel.send("raised", user_code_error(text, error))
        return
    try:
        value = function(*args, **kwargs)
    except BaseException as error:  # also SystemExit: only the parent ends a worker
        _send_error(channel, error)
    else:
        _send_value(channel, function, value)


def _decode_call(payload: bytes) -> Any:
    """(function, args, kwargs). If unpickling imports modules, they are unpickled again after `complete`, which would otherwise
    freeze objects that live only during the call."""
    num_modules = len(sys.modules)
    call = decode(payload)
    if len(sys.modules) == num_modules:
        return call
    del call
    complete(imported=True)
    return decode(payload)


def _send_value(channel: Channel, function: Any, value: Any) -> None:
    try:
        channel.send("returned", value)
    except OSError:
        raise
    except Exception as error:
        name = getattr(function, "__name__", type(function).__name__)
        text = f"{name} returned a {type(value).__name__} that cannot be pickled: {error}"
        channel.send("raised", TaskError(text, hint="Return numbers, strings, tensors, or containers of them."))


def _send_error(channel: Channel, error: BaseException) -> None:
    if isinstance(error, ProbeError):
        with contextlib.suppress(TypeError, AttributeError, ValueError):  # send an error that cannot be pickled as text
            channel.send("raised", error)
            return
    wrapped: UserCodeError = user_code_error(f"{type(error).__name__}: {error}", error)
    channel.send("raised", wrapped)


_call_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="probe-call")
"""The thread that runs all streamed calls of a process, so that all of them share its pool of OpenMP threads."""


class _Frames:
    """A channel to `stream_call`."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def send(self, kind: str, value: Any) -> None:
        self.queue.put(encode((kind, value)))


def stream_call(payload: bytes) -> Iterator[bytes]:
    """Run the encoded (function, args, kwargs), and yield its events for `probe.workers.worker.decode_event`, the end last."""
    frames = _Frames()

    def run() -> None:
        try:
            with messages_to(frames):
                serve_call(frames, payload)
        finally:
            frames.queue.put(None)

    running = _call_thread.submit(run)
    while (frame := frames.queue.get()) is not None:
        yield frame
    running.result()
