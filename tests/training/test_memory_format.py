"""channels_last = true: images and volumes reach the model with the channels last, and results do not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import probe
from probe.device.cpu import CpuDevice
from probe.training.checkpoint import save_weights
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings


class Watched(nn.Module):
    """A convolution that keeps its last input."""

    def __init__(self, num_dims: int) -> None:
        super().__init__()
        kinds: dict[int, Any] = {2: nn.Linear, 4: nn.Conv2d, 5: nn.Conv3d}
        self.first = kinds[num_dims](3, 4, *([] if num_dims == 2 else [2]))
        self.last = nn.LazyLinear(2)

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen = inputs
        outputs: Tensor = self.last(self.first(inputs).flatten(1))
        return outputs


FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def trained(num_dims: int, **settings: Any) -> TrainingRun:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(16, 3, *[4] * (num_dims - 2), generator=generator)
    task = probe.Task(model=lambda: Watched(num_dims), train=(inputs, torch.arange(16) % 2))
    run = TrainingRun(task, TrainerSettings(batch_size=8, optimizer="sgd", **settings), device=CpuDevice(), seed=0)
    assert run.train_epoch() is not None
    return run


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("num_dims", [2, 4, 5])
def test_weights_and_inputs_have_the_channels_last(num_dims: int, tmp_path: Path) -> None:
    plain, changed = trained(num_dims), trained(num_dims, channels_last=True)
    model: Any = changed.model
    if num_dims in FORMATS:
        assert model.seen.is_contiguous(memory_format=FORMATS[num_dims])
        assert model.first.weight.is_contiguous(memory_format=FORMATS[num_dims])
        assert not model.first.weight.is_contiguous()
    else:
        assert model.seen.is_contiguous()
    for name, weight in plain.model.state_dict().items():
        torch.testing.assert_close(changed.model.state_dict()[name], weight)
    save_weights(changed.model, tmp_path / "weights.safetensors")
    saved = safetensors.torch.load_file(tmp_path / "weights.safetensors")
    assert torch.equal(saved["first.weight"], model.first.weight)
    before = model.first.weight.clone()
    changed.restore(changed.state())
    assert torch.equal(model.first.weight, before)
    assert changed.train_epoch() is not None
