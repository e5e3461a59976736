"""Batches that are copied to a GPU while the one before is in use."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from probe.loading.batch import Batch


def copied_ahead(on_host: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches on `device`. Each is copied on a stream of its own before the one in front of it is used, so that two are on
    the device at a time. Only batches in pinned memory are copied without waiting.

    Their memory belongs to the stream of the computation, which waits for the copy before it uses a batch, and the copy waits
    for the work that was queued before. So the allocator frees and reuses them like any other tensor.
    """
    copies, ready = torch.Stream(device), deque[tuple[Batch, torch.Event]]()
    computation = torch.accelerator.current_stream(device)
    try:
        for batch in on_host:
            ready.append(_start_copy(batch, device, copies, computation))
            del batch
            if len(ready) > 1:
                yield _finish_copy(ready, computation)
        while ready:
            yield _finish_copy(ready, computation)
    finally:  # memory of batches that nobody asked for may be reused only after their copies
        while ready:
            _finish_copy(ready, computation)


def _start_copy(
    batch: Batch, device: torch.device, copies: torch.Stream, computation: torch.Stream
) -> tuple[Batch, torch.Event]:
    pairs: list[tuple[Tensor, Tensor]] = []

    def placed(tensor: Tensor) -> Tensor:
        if tensor.device.type != "cpu" or tensor.layout is not torch.strided:
            return tensor.to(device)
        target = torch.empty_like(tensor, device=device)
        pairs.append((target, tensor))
        return target

    moved = batch.map(placed)
    copies.wait_stream(computation)
    with copies:
        for target, tensor in pairs:
            target.copy_(tensor, non_blocking=True)
    return moved, copies.record_event()


def _finish_copy(ready: deque[tuple[Batch, torch.Event]], computation: torch.Stream) -> Batch:
    batch, copied = ready.popleft()
    computation.wait_event(copied)
    return batch
