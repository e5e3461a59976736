"""Predictions compared with what PyTorch's allocator counts on a fake GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_gpus import FakeMachine

TASKS = """
import torch
from torch import nn

import probe

TOKENS, CLASSES = torch.randint(1, 100, (256, 128)), torch.arange(256) % 10


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(256, 4, 512, dropout=0.1, batch_first=True)
        self.embedding, self.encoder, self.out = nn.Embedding(100, 256), nn.TransformerEncoder(layer, 2), nn.Linear(256, 10)

    def forward(self, tokens):
        return self.out(self.encoder(self.embedding(tokens), src_key_padding_mask=tokens == 0).mean(1))


class Causal(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.norm, self.qkv = nn.Embedding(100, 256), nn.RMSNorm(256), nn.Linear(256, 768)
        self.out = nn.Linear(256, 10)

    def forward(self, tokens):
        hidden = self.embedding(tokens)
        heads = [part.unflatten(-1, (4, 64)).transpose(1, 2) for part in self.qkv(self.norm(hidden)).chunk(3, -1)]
        attended = nn.functional.scaled_dot_product_attention(*heads, is_causal=True)
        return self.out((hidden + attended.transpose(1, 2).flatten(2)).mean(1))


def norms():
    layers = [nn.Conv2d(3, 32, 3, padding=1), nn.GroupNorm(4, 32), nn.SiLU(), nn.Conv2d(32, 32, 3), nn.BatchNorm2d(32)]
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def text():
    return probe.Task(model=Text, train=(TOKENS, CLASSES))


def causal():
    return probe.Task(model=Causal, train=(TOKENS, CLASSES))


def images():
    return probe.Task(model=norms, train=(torch.zeros(256, 3, 64, 64), CLASSES))


def forward(model, batch):
    inputs, targets = (part.to("cuda") for part in batch)
    outputs = model(inputs)
    return nn.functional.cross_entropy(outputs, targets, weight=torch.ones(10, device="cuda")), outputs


def names_the_gpu():
    data = (torch.zeros(256, 3, 64, 64), CLASSES)
    return probe.Task(model=norms, train=data, forward=forward)
"""

Make = Callable[..., FakeMachine]


def peaks(folder: str, task: str, precision: str) -> tuple[int, int]:
    """The predicted and the measured peak of allocated memory. Runs on the machine."""
    import sys

    from probe.batch.find import find_batch_size
    from probe.tasks.source import TargetSource

    sys.path.insert(0, folder)
    result = find_batch_size(TargetSource(target=f"tasks:{task}"), params={"precision": precision}, device="cuda")
    assert result.prediction_info is not None
    assert result.prediction_info.failure is None
    attempt = next(attempt for attempt in result.attempts if attempt.fits)
    assert attempt.memory is not None
    curve = {point.batch_size: point.allocated_bytes for point in result.prediction_info.curve}
    return curve[attempt.batch_size], attempt.memory.peak_allocated_bytes


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("task", ["text", "causal", "images", "names_the_gpu"])
def test_allocated_memory_is_predicted(task: str, precision: str, fake_machine: Make, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    predicted, measured = fake_machine(mib=16384).call(peaks, str(tmp_path), task, precision)
    assert predicted == pytest.approx(measured, rel=0.01)
