"""Predictions with augmentation and another training loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from measured_memory import measured_peak

from probe.batch.prediction.build_memory_model import build_memory_model
from probe.batch.prediction.memory_model import MemoryModel
from probe.tasks.options import AUGMENTATIONS
from probe.tasks.source import NamedSource


@pytest.mark.parametrize(
    "params",
    [
        *({"augmentation": name} for name in AUGMENTATIONS),
        {"loss": "focal", "label_smoothing": 0.1},
    ],
    ids=str,
)
def test_options_are_traced(params: dict[str, Any], tmp_path: Path) -> None:
    source = NamedSource(model="mlp", data="digits", data_dir=tmp_path)
    model = build_memory_model(source, params=params, target="simulated", in_process=True)
    assert isinstance(model, MemoryModel), model
    task = source.build(params)
    for batch_size in (16, 64):
        assert model.live_peak_bytes(batch_size) == measured_peak(task, batch_size)
