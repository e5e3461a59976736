"""A task whose memory on a GPU is known: weights and gradients of so many layers."""

from __future__ import annotations

import torch
from torch import nn

import probe
from probe.device.select import DeviceSpec
from probe.loading.records import ValidationSplit
from probe.search.jobs.jobs import RungJob
from probe.tasks.source import TargetSource

WIDTH = 1024
LAYER_MIB = 2 * 4 * WIDTH * WIDTH / 2**20
left_behind: list[torch.Tensor] = []


class Layers(nn.Module):
    def __init__(self, num_layers: int) -> None:
        super().__init__()
        layers = [
            nn.utils.skip_init(nn.Linear, WIDTH, WIDTH, bias=False)  # type: ignore[no-untyped-call]  # not annotated by torch
            for _ in range(num_layers)
        ]
        for layer in layers:
            nn.init.zeros_(layer.weight)
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layers(inputs)[:, :10]  # type: ignore[no-any-return]


class LeavesBehind(Layers):
    """Keeps tensors of a GPU in its module, as a cache does that is never emptied."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if inputs.is_cuda:
            left_behind.append(torch.empty(200 * 2**20, dtype=torch.uint8, device=inputs.device))
        return super().forward(inputs)


def layers(num_layers: int = 2, leaves_behind: bool = False) -> probe.Task:
    model = LeavesBehind if leaves_behind else Layers
    return probe.Task(
        model=lambda: model(num_layers),
        train=(torch.zeros(32, WIDTH), torch.arange(32) % 2),
        batch_size=16,
    )


def gpu_job(number: int, num_layers: int = 2, *, leaves_behind: bool = False) -> RungJob:
    """A job that trains `layers` for an epoch on the GPU of its worker."""
    return RungJob(
        number=number,
        source=TargetSource(target="gpu_task:layers"),
        params={"num_layers": num_layers, "leaves_behind": leaves_behind, "optimizer": "sgd", "lr": 0.001},
        seed=0,
        split=ValidationSplit(fraction=0.2, seed=0),
        device=DeviceSpec(kind="cuda", index=0, resolved=True),
        planned_epochs=2,
        epochs_from=0,
        epochs_to=1,
        checkpoint_in=None,
        checkpoint_out=None,
    )


class Activations(nn.Module):
    """Allocates 48 tensors of 12 MiB in a forward pass, each of them from the driver, and little on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*[nn.Sequential(nn.Linear(16, 16), nn.GELU()) for _ in range(24)])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layers(inputs.expand(-1, 12 * 1024, -1)).mean(dim=1)[:, :10]  # type: ignore[no-any-return]


def activations() -> probe.Task:
    samples = (torch.zeros(16, 1, 16), torch.arange(16) % 10)
    return probe.Task(model=Activations, train=samples, val=samples, batch_size=16, optimizer="adamw")
