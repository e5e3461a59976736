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
        self.layers = nn.ParameterList(torch.zeros(WIDTH, WIDTH) for _ in range(num_layers))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        for weights in self.layers:
            inputs = nn.functional.linear(inputs, weights)
        return inputs[:, :10]


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
        source=TargetSource(target="known_gpu_memory:layers"),
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
        outputs: torch.Tensor = self.layers(inputs.expand(-1, 12 * 1024, -1)).mean(dim=1)
        return outputs[:, :10]


def activations() -> probe.Task:
    samples = (torch.zeros(16, 1, 16), torch.arange(16) % 10)
    return probe.Task(model=Activations, train=samples, val=samples, batch_size=16, optimizer="adamw")
