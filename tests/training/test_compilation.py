"""compile = true: the same training with the same names of weights, and errors that say what to do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from made_tasks import made_task
from torch import Tensor, nn

from probe.batch.prediction.build_memory_model import build_memory_model
from probe.batch.prediction.memory_model import Untraceable
from probe.device.cpu import CpuDevice
from probe.device.protocol import Device
from probe.device.simulated import SimulatedDevice
from probe.errors import DeviceError, TaskError
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings


def plain_net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


class TooNarrow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs)
        return outputs


def run_of(model: Any = plain_net, device: Device | None = None, **settings: Any) -> TrainingRun:
    return TrainingRun(
        made_task(model=model), TrainerSettings(batch_size=24, **settings), device=device or CpuDevice(), seed=1
    )


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_model_is_trained_like_the_plain_one() -> None:
    plain, compiled = run_of(), run_of(compile=True)
    reports = [run.run_epoch() for run in (plain, compiled)]
    assert all(report is not None for report in reports)
    losses = [(report.train_loss, report.val_loss) for report in reports if report is not None]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert list(compiled.state()["model"]) == list(plain.state()["model"])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    plain.restore(compiled.state())


def test_a_machine_without_a_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # nothing is compiled already
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(DeviceError, match=r"(?s)cannot be compiled: .*compile = false"):
        run_of(compile=True).train_epoch()


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_cannot_be_compiled_is_an_error_of_the_task() -> None:
    run = run_of(TooNarrow, compile=True)
    with pytest.raises(TaskError, match=r"(?s)cannot be compiled: .*compile = false"):
        run.train_step(next(run.batches()))
    with pytest.raises(TaskError, match="cannot be compiled"):
        run.evaluate(run.task.val)


def test_memory_of_a_compiled_model_is_neither_simulated_nor_predicted() -> None:
    with pytest.raises(DeviceError, match=r"(?s)compile is true.*compile = false"):
        run_of(compile=True, device=SimulatedDevice(2**30))
    model = build_memory_model(made_task(), params={"compile": True}, in_process=True)
    assert isinstance(model, Untraceable)
    assert "compile" in model.reason
