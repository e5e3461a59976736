"""How parent and child talk: frames of eight bytes of length (big endian) and that many bytes of cloudpickle."""

from __future__ import annotations

import io
import struct
from typing import IO, Any

import cloudpickle

_LENGTH = struct.Struct(">Q")

CLOSE = b""
"""The empty frame: the parent asks the child to leave."""


def write_frame(stream: IO[bytes], payload: bytes) -> None:
    stream.write(_LENGTH.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """The next frame; None at the end of the stream, also where it ends in the middle of a frame (the writer died)."""
    head = _read_exactly(stream, _LENGTH.size)
    return None if head is None else _read_exactly(stream, _LENGTH.unpack(head)[0])


def encode(value: Any) -> bytes:
    """Functions of the caller's script or notebook travel by value (cloudpickle), those of modules by name."""
    return cloudpickle.dumps(value)  # type: ignore[no-any-return]  # cloudpickle has no annotations


def decode(payload: bytes) -> Any:
    """Only for frames of our own children and our own parent: unpickling runs code."""
    return cloudpickle.loads(payload)


def _read_exactly(stream: IO[bytes], num_bytes: int) -> bytes | None:
    buffer = io.BytesIO()
    while buffer.tell() < num_bytes:
        part = stream.read(min(num_bytes - buffer.tell(), 2**20))
        if not part:
            return None
        buffer.write(part)
    return buffer.getvalue()
