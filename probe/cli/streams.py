"""Standard output and error that never raise, so that a measurement outlives the terminal, pipe or disk that it prints to."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

from probe.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _ForgivingWriter(io.RawIOBase):
    """Writes to another raw stream. What that stream refuses is dropped, and the error is kept."""

    def __init__(self, raw: io.RawIOBase, error: OSError | None = None, owner: TextIO | None = None) -> None:
        self._raw = raw
        self._owner = owner  # would close the raw stream if it was collected
        self.error = error

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            while (num_written := self._raw.write(data)) is None:  # a pipe that does not block, and is full
                _wait_until_writable(self.fileno())
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self.error = error if isinstance(error, OSError) else _closed()
            return memoryview(data).nbytes
        return num_written


class ForgivingStream(io.TextIOWrapper):
    """A text stream that never raises: text that cannot be written is dropped, letters that cannot be encoded become `?`."""

    def __init__(
        self, raw: io.RawIOBase, *, error: OSError | None = None, owner: TextIO | None = None, **options: Any
    ) -> None:
        self._writer = _ForgivingWriter(raw, error, owner)
        super().__init__(io.BufferedWriter(self._writer), errors="replace", **options)

    @property
    def error(self) -> OSError | None:
        """Why text was dropped; None if all was written."""
        return self._writer.error

    def forget(self) -> None:
        self._writer.error = None

    def close(self) -> None:
        """Only flush: code of a task that closes `sys.stdout` does not silence the commands."""
        self.flush()


def protect_streams() -> None:
    """Replace standard output and error by streams that never raise. Those that were closed are connected to the null device,
    because the next file that is opened would take their descriptor, and receive what libraries print."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(opened)
    sys.stdout, sys.stderr = _protected(sys.stdout, 1), _protected(sys.stderr, 2)


def duplicate_stream(stream: TextIO) -> ForgivingStream:
    """Return another stream to where a protected stream writes, with a descriptor of its own."""
    raw = io.FileIO(os.dup(stream.fileno()), "w", closefd=False)
    return ForgivingStream(raw, error=output_error(stream), encoding=stream.encoding)


def output_error(stream: TextIO) -> OSError | None:
    """Why text for `stream` was dropped; None if all was written, or if it is not a protected stream."""
    stream.flush()
    return stream.error if isinstance(stream, ForgivingStream) else None


def forget_error(stream: TextIO) -> OSError | None:
    """Like `output_error`, for a caller that says what was dropped: it is not an error of the command any more."""
    error = output_error(stream)
    if isinstance(stream, ForgivingStream):
        stream.forget()
    return error


def check_stdout() -> None:
    """Raise OutputError if text for standard output was dropped, unless its reader is gone or it was closed."""
    error = output_error(sys.stdout)
    if error is not None and not is_unwanted(error):
        raise OutputError(f"Standard output cannot be written: {error.strerror}.")


def is_unwanted(error: OSError) -> bool:
    """Whether text was dropped because nobody wants it: `| head` has read enough, or the stream was closed with `>&-`."""
    return error.errno in (errno.EPIPE, errno.EBADF)


def _protected(stream: TextIO | None, descriptor: int) -> ForgivingStream:
    if stream is None:
        return ForgivingStream(io.FileIO(descriptor, "w", closefd=False), error=_closed(), encoding="utf-8")
    buffer: Any = stream.buffer
    return ForgivingStream(
        cast("io.RawIOBase", getattr(buffer, "raw", buffer)),  # with `python -u`, the buffer is the raw stream
        owner=stream,
        encoding=stream.encoding,
        line_buffering=stream.isatty() or descriptor == 2,
    )


def _closed() -> OSError:
    return OSError(errno.EBADF, "it is closed")


def _wait_until_writable(descriptor: int) -> None:
    import select

    select.select([], [descriptor], [])
