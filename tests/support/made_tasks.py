"""Small tasks that train in milliseconds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import probe


def made_data(num_samples: int = 120, num_features: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three classes that are linearly separable except for some noise."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(num_samples, num_features, generator=generator)
    targets = (inputs[:, :3] + 0.1 * torch.randn(num_samples, 3, generator=generator)).argmax(dim=1)
    return inputs, targets


def small_net(dropout: float = 0.2) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))


def made_task(**changes: Any) -> probe.Task:
    fields: dict[str, Any] = {
        "model": small_net,
        "train": made_data(),
        "val": made_data(45, seed=1),
        "metrics": {"accuracy": "accuracy"},
        "optimizer": "adam",
        "batch_size": 16,
    }
    return probe.Task(**(fields | changes))


class Rows(Dataset[Any]):
    """A map-style data set over `made_data`, with torchvision's conventions for transforms and targets."""

    def __init__(self, transform: Any = None, num_samples: int = 40) -> None:
        self._inputs, self._targets = made_data(num_samples)
        self.targets = self._targets.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        row = self._inputs[index]
        return (self.transform(row) if self.transform else row), int(self._targets[index])


class Words(Dataset[Any]):
    """Samples of different length: token ids and a class."""

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.arange(1 + index % 7) % 10, index % 2


def pad(samples: list[Any]) -> tuple[Tensor, Tensor]:
    words = nn.utils.rnn.pad_sequence([sample[0] for sample in samples], batch_first=True)
    return words, torch.tensor([sample[1] for sample in samples])
