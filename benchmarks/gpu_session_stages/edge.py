"""Does the batch that probe finds hold in an independent loop for an epoch, and does twice as much run out of memory?"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from gpu_session_stages.session import Session
from probe.batch.find import find_batch_size
from probe.batch.records import BatchResult
from probe.batch.sweep import SweepOptions
from probe.tasks.source import NamedSource
from probe.units import parse_bytes

MODELS = ("resnet50", "vit_b_16", "densenet121", "swin_t")
LIMITS = ("5GiB", "3GiB", "8GiB", "12GiB", "20GiB")
"""Not powers of two, so that the edge is not always at the same place."""
NUM_BATCHES = 6
"""Full batches in an epoch, besides the partial one at its end."""


def run(session: Session) -> None:
    models, limits, image_size = (("cnn",), ("700MiB",), 32) if session.small else (MODELS, LIMITS, 224)
    cases = [{"limit": limit, "model": model} for limit in limits for model in models]
    session.measure("The edge", cases, partial(measure, image_size=image_size, device=session.device))


def measure(*, limit: str, model: str, image_size: int, device: str) -> dict[str, Any]:
    source = NamedSource(model=model, image_size=image_size)
    result = find_batch_size(source, device=device, memory=limit, options=SweepOptions(size_only=True))
    found = result.largest_fit
    row: dict[str, Any] = {
        "predicted": result.predictions[0].largest_fit if result.predictions else None,
        "found": found,
        "attempts": len(result.attempts),
        "sweep_seconds": result.seconds,
    }
    if found is None:
        return row
    limit_to(parse_bytes(limit), result, device)
    network = source.build({}).model
    row["an_epoch_with_it"] = train(network, found, image_size, device, num_batches=NUM_BATCHES)
    row["twice_as_much"] = (
        train(network, 2 * found, image_size, device, num_batches=3) if result.capped_by is None else "not tried"
    )
    torch.cuda.set_per_process_memory_fraction(1.0, device)
    return row


def limit_to(limit_bytes: int, result: BatchResult, device: str) -> None:
    """The limit of probe's emulation: the smaller GPU without a context."""
    memory = result.device_memory
    assert memory is not None, "a GPU has a record of its memory"
    fraction = (limit_bytes - memory.context_bytes) / memory.total_bytes
    torch.cuda.set_per_process_memory_fraction(fraction, device)


def train(network: Any, batch_size: int, image_size: int, device: str, *, num_batches: int) -> str:
    """An epoch of full batches and one of half the size. Returns `fits`, or the error."""
    try:
        _train(network, batch_size, image_size, device, num_batches=num_batches)
    except torch.OutOfMemoryError:
        ended = "out of memory"
    except RuntimeError as error:
        ended = str(error).splitlines()[0]
    else:
        ended = "fits"
    torch.cuda.empty_cache()  # outside of the handler, whose frames keep tensors
    return ended


def _train(network: Any, batch_size: int, image_size: int, device: str, *, num_batches: int) -> None:
    model = network().to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step(size: int) -> None:
        inputs = torch.randn(size, 3, image_size, image_size, device=device)
        targets = torch.zeros(size, dtype=torch.int64, device=device)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(nn.functional.cross_entropy(model(inputs), targets))
        optimizer.step()

    for _ in range(num_batches):
        step(batch_size)
    step(max(2, batch_size // 2))
    torch.cuda.synchronize(device)
