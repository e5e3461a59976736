"""Messages between parent and child: frames of eight bytes of length (big endian), then that many bytes of cloudpickle."""

from __future__ import annotations

import io
import struct
from typing import IO, Any

import cloudpickle

_LENGTH = struct.Struct(">Q")

CLOSE = b""
"""The empty frame: the parent asks the child to exit."""


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
