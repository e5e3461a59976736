"""The child's side: take calls from the parent one after another, run them, send back what they return or raise.

The two pipes to the parent are moved away from the descriptors 0 and 1 before any code of the user runs: `print` in the
user's code goes to standard error, of which the parent keeps the end, and reading standard input finds it empty. When the
pipe from the parent ends, the parent is gone, however it died: the child leaves at once, even in the middle of a call.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any, Protocol

from probe.errors import ProbeError, TaskError, UserCodeError, user_code_error
from probe.workers.frames import CLOSE, decode, encode, read_frame, write_frame
from probe.workers.process_state import begin, complete, put_back


class Channel(Protocol):
    """To whoever asked for a call."""

    def send(self, kind: str, value: Any) -> None:
        """`message` while the call runs, then `returned` or `raised`. Raises what pickling the value raises."""


class _Pipe:
    """To the parent. Threads of the user's code may send messages, hence the lock."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, kind: str, value: Any) -> None:
        payload = encode((kind, value))
        with self._lock:
            write_frame(self._stream, payload)


_channel: Channel | None = None


def send_message(message: Any) -> None:
    """Send progress to the parent from inside a call: it arrives there in order, before the call's result.

    Does nothing outside a worker process, so that the same function can be called directly.
    """
    if _channel is not None:
        _channel.send("message", message)


def in_worker() -> bool:
    """Whether this process runs calls for another one, and is its own to keep things in."""
    return _channel is not None


def main() -> None:
    """Serve calls until the parent says to leave."""
    global _channel
    calls_from, answers_to = _take_over_pipes()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    faulthandler.enable()
    _channel = _Pipe(answers_to)
    frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read_calls, args=(calls_from, frames), daemon=True).start()
    sys.path[:] = decode(frames.get())
    prepare = decode(frames.get())
    if prepare is not None:
        begin(prepare)
    while (payload := frames.get()) != CLOSE:
        serve_call(_channel, payload)


def _take_over_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes from and to the parent, on descriptors that no other code knows and no subprocess inherits."""
    calls_from, answers_to = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return calls_from, answers_to


def _read_calls(stream: IO[bytes], frames: queue.SimpleQueue[bytes]) -> None:
    while (payload := read_frame(stream)) is not None:
        frames.put(payload)
    os._exit(1)  # the parent is gone and nobody waits for the call that may still run


@contextlib.contextmanager
def messages_to(channel: Channel) -> Iterator[None]:
    """In a process that is not `main`'s: what is sent inside goes there."""
    global _channel
    before, _channel = _channel, channel
    try:
        yield
    finally:
        _channel = before


def serve_call(channel: Channel, payload: bytes) -> None:
    """Run the encoded (function, args, kwargs) and send how it ended; nothing is raised but OSError, by a broken channel.
    What the call changed of the process's settings is put back."""
    with put_back():
        _serve(channel, payload)


def _serve(channel: Channel, payload: bytes) -> None:
    try:
        function, args, kwargs = _decode_call(payload)
    except Exception as error:
        text = f"A worker process could not read what it was sent: {type(error).__name__}: {error}"
        channel.send("raised", user_code_error(text, error))
        return
    try:
        value = function(*args, **kwargs)
    except BaseException as error:  # SystemExit too: only the parent ends a worker
        _send_error(channel, error)
    else:
        _send_value(channel, function, value)


def _decode_call(payload: bytes) -> Any:
    """(function, args, kwargs). Where reading them imports modules, they are read again after `complete`, which must not see
    objects that live no longer than the call."""
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
        text = f"{name} returned a {type(value).__name__} that cannot leave its worker process: {error}"
        channel.send("raised", TaskError(text, hint="Return numbers, strings, tensors, or containers of these."))


def _send_error(channel: Channel, error: BaseException) -> None:
    if isinstance(error, ProbeError):
        with contextlib.suppress(TypeError, AttributeError, ValueError):  # one that cannot be pickled goes as text
            channel.send("raised", error)
            return
    wrapped: UserCodeError = user_code_error(f"{type(error).__name__}: {error}", error)
    channel.send("raised", wrapped)
