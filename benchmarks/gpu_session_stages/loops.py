"""Made tasks, and training loops as people write them, to compare probe with."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

import probe
from probe.device.select import open_device, parse_device
from probe.tasks.source import NamedSource
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings
from probe.training.step import matmul_precision

NUM_CLASSES = 10


def made_data(num_samples: int, shape: tuple[int, ...], *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noisy patterns of ten classes, which a network learns in a few hundred steps."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, NUM_CLASSES, (num_samples,), generator=generator)
    patterns = torch.randn(NUM_CLASSES, *shape, generator=generator)
    return patterns[targets] + 2 * torch.randn(num_samples, *shape, generator=generator), targets


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, NUM_CLASSES))


def cnn() -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, NUM_CLASSES))


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {"mlp": mlp, "cnn": cnn}
"""Small networks for images of 16 x 16 pixels."""


def small_task(model: str, num_samples: int = 4096) -> probe.Task:
    return probe.Task(model=NETWORKS[model], train=made_data(num_samples, (1, 16, 16)), name=model)


def image_task(model: str, batch_size: int, image_size: int) -> probe.Task:
    """A model by name, on images for two batches."""
    named = NamedSource(model=model, image_size=image_size).build({})
    return probe.Task(model=named.model, train=made_data(2 * batch_size, (3, image_size, image_size)), name=model)


def training_run(task: probe.Task, device: str, *, seed: int = 0, **settings: Any) -> TrainingRun:
    """probe's training of a task."""
    opened = open_device(parse_device(device), measuring_memory=False)
    return TrainingRun(task, TrainerSettings(**settings), device=opened, seed=seed)


def probe_steps(run: TrainingRun) -> Callable[[int], None]:
    """A function that makes so many of probe's training steps, without waiting for them."""
    batches = run.batches()
    run.model.train()

    def steps(count: int) -> None:
        with matmul_precision(run.settings.precision):
            for _ in range(count):
                run.train_step(next(batches))

    return steps


def plain_steps(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    device: str,
    batch_size: int,
    precision: str = "fp32",
    tuned: bool = False,
) -> Callable[[int], None]:
    """The same by hand, on data that are on the GPU; `tuned` adds what people do for speed: channels_last and a fused AdamW."""
    model = model.to(device).train()
    inputs, targets = (tensor.to(device) for tensor in data)
    if tuned and inputs.dim() == 4:
        model, inputs = (
            model.to(memory_format=torch.channels_last),
            inputs.contiguous(memory_format=torch.channels_last),
        )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True if tuned else None)
    chosen = _shuffled(len(inputs), batch_size, device)

    def steps(count: int) -> None:
        for _ in range(count):
            rows = next(chosen)
            optimizer.zero_grad(set_to_none=True)
            with autocast(precision):
                loss = nn.functional.cross_entropy(model(inputs[rows]), targets[rows])
            torch.autograd.backward(loss)
            optimizer.step()

    return steps


def autocast(precision: str) -> AbstractContextManager[Any]:
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return nullcontext() if dtype is None else torch.autocast("cuda", dtype=dtype)


def _shuffled(num_samples: int, batch_size: int, device: str) -> Iterator[Tensor]:
    while True:
        order = torch.randperm(num_samples).to(device)
        for start in range(0, num_samples - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


def step_seconds(
    contenders: Mapping[str, Callable[[int], None]], *, steps: int, rounds: int
) -> dict[str, tuple[float, float]]:
    """Median seconds of a step of each, and of the host's part of it. They take turns, so that other programs affect all."""
    for run in contenders.values():
        run(3)
    torch.cuda.synchronize()
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            began = time.perf_counter()
            run(steps)
            queued = time.perf_counter() - began
            torch.cuda.synchronize()
            measured[name].append(((time.perf_counter() - began) / steps, queued / steps))
    return {
        name: (statistics.median(total for total, _ in times), statistics.median(host for _, host in times))
        for name, times in measured.items()
    }
