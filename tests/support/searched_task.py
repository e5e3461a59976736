"""A small real task whose hyperparameters can make it fail in every way a trial can."""

from __future__ import annotations

import os
import signal
import time

import torch
from torch import nn

import probe


class _Faulty(nn.Module):
    def __init__(self, width: int, fault: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
        self.fault = fault

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.fault == "raises":
            raise ZeroDivisionError("a bug of the user's own")
        if self.fault == "refused":
            raise probe.Infeasible("not with these layers")
        if self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "dies":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.fault == "exits":
            os._exit(1)
        if self.fault == "out_of_memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB")
        if self.fault == "wrapped":
            raise ValueError("the first layer failed") from torch.OutOfMemoryError("CUDA out of memory. Tried 8 GiB")
        if self.fault == "unsupported":
            raise RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED")
        if self.fault == "hangs":
            time.sleep(600)
        largest = {"fits_4": 4, "fits_1_but_fails": 1}.get(self.fault)
        if largest is not None and self.training and len(x) > largest:
            raise torch.OutOfMemoryError(f"CUDA out of memory. {largest} samples would fit")
        if self.fault == "fits_1_but_fails" and self.training:
            raise ValueError("Expected more than 1 value per channel when training")
        out: torch.Tensor = self.layers(x)
        return out * float("nan") if self.fault == "diverges" else out


def blobs(width: int = 8, fault: str = "none", dropout: float = 0.0) -> probe.Task:
    """Two Gaussian blobs in four dimensions: 160 training, 40 test samples."""
    if fault == "refused early" or (fault == "refused middle" and 20 < width < 45):
        raise probe.Infeasible(f"not with a width of {width}")
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(200) % 2
    inputs = torch.randn(200, 4, generator=generator) + 1.5 * targets[:, None]
    return probe.Task(
        model=lambda: _Faulty(width, fault),
        train=(inputs[:160], targets[:160]),
        test=(inputs[160:], targets[160:]),
        metrics={"accuracy": "accuracy"},
        optimizer="sgd",
        batch_size=16,
        name="blobs",
    )
