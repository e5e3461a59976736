"""A call whose messages and end are yielded, not written to a pipe: for processes that somebody else starts and feeds."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from probe.workers.child import messages_to, serve_call
from probe.workers.frames import encode

_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="probe-call")
"""All calls of a process run in one and the same thread, whose pool of OpenMP threads then serves all of them."""


class _Frames:
    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def send(self, kind: str, value: Any) -> None:
        self.queue.put(encode((kind, value)))


def stream_call(payload: bytes) -> Iterator[bytes]:
    """Run the encoded (function, args, kwargs); yield what `probe.workers.worker.decode_event` reads, its end last."""
    frames = _Frames()

    def run() -> None:
        try:
            with messages_to(frames):
                serve_call(frames, payload)
        finally:
            frames.queue.put(None)

    running = _thread.submit(run)
    while (frame := frames.queue.get()) is not None:
        yield frame
    running.result()
