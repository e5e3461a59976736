"""Training runs: epochs, and a restored state that continues exactly."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_tasks import Rows, Words, made_data, made_task, pad
from torch import nn

from probe.device.cpu import CpuDevice
from probe.errors import OutputError, TaskError
from probe.records_json import to_plain
from probe.training.checkpoint import load_checkpoint, save_checkpoint
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings

CONTINUE = """
import json, sys
from pathlib import Path
sys.path[:0] = {path!r}
from probe.records_json import to_plain
from probe.device.cpu import CpuDevice
from probe.training.checkpoint import load_checkpoint
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings
from test_run import task_of

results = []
for kind, settings, checkpoint in {jobs!r}:
    run = TrainingRun(task_of(kind), TrainerSettings(**settings), device=CpuDevice(), seed=5)
    run.restore(load_checkpoint(Path(checkpoint)))
    reports = [to_plain(run.run_epoch()) for _ in range(3)]
    results.append([reports, {{name: tensor.double().sum().item() for name, tensor in run.model.state_dict().items()}}])
print(json.dumps(results))
"""


def task_of(kind: str) -> Any:
    if kind == "loader":
        return made_task(train=Rows(transform=noisy))
    return made_task()


def noisy(row: torch.Tensor) -> torch.Tensor:
    """Augmentation that uses all global generators."""
    return row + 0.01 * torch.randn(6) + 0.1 * random.random() + 0.1 * float(np.random.rand())  # noqa: NPY002 - as they do


def numbers(reports: list[Any]) -> list[Any]:
    return [{name: value for name, value in report.items() if "seconds" not in name} for report in reports]


CONTINUED: list[tuple[str, dict[str, Any]]] = [
    ("tensors", {"optimizer": "adamw", "lr": 0.01, "batch_size": 16, "lr_schedule": "one-cycle", "epochs": 6}),
    ("tensors", {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1, "batch_size": 7, "precision": "bf16", "l1": 1e-4}),
    ("loader", {"optimizer": "rmsprop", "lr": 0.01, "batch_size": 8, "max_grad_norm": 1.0, "gradient_accumulation": 2}),
]


def test_six_epochs_equal_three_and_three_in_a_new_process(tmp_path: Path) -> None:
    expected, jobs = [], []
    for number, (kind, settings) in enumerate(CONTINUED):
        whole = TrainingRun(task_of(kind), TrainerSettings(**settings), device=CpuDevice(), seed=5)
        reports = [to_plain(whole.run_epoch()) for _ in range(6)]
        weights = {name: tensor.double().sum().item() for name, tensor in whole.model.state_dict().items()}
        expected.append((numbers(reports[3:]), weights))
        half = TrainingRun(task_of(kind), TrainerSettings(**settings), device=CpuDevice(), seed=5)
        for _ in range(3):
            half.run_epoch()
        checkpoint = tmp_path / f"{number}.pt"
        save_checkpoint(checkpoint, half.state())
        jobs.append((kind, settings, str(checkpoint)))
    path = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support"), *sys.path]
    program = CONTINUE.format(path=path, jobs=jobs)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for (reports, weights), (last_reports, last_weights) in zip(json.loads(done.stdout), expected, strict=True):
        assert numbers(reports) == last_reports
        assert weights == last_weights


def test_a_run_learns_and_reports() -> None:
    run = TrainingRun(made_task(), TrainerSettings(lr=0.02, batch_size=16), device=CpuDevice(), seed=0)
    reports = [run.run_epoch() for _ in range(15)]
    first, last = reports[0], reports[-1]
    assert first is not None
    assert last is not None
    assert (first.epoch, last.epoch) == (1, 15)
    assert last.train_loss < first.train_loss
    assert last.metrics["accuracy"] > 0.8


def test_divergence_is_a_value() -> None:
    run = TrainingRun(made_task(), TrainerSettings(optimizer="sgd", lr=1e30, batch_size=16), device=CpuDevice(), seed=0)
    assert [run.run_epoch() for _ in range(3)][-1] is None


def test_a_loss_that_is_not_finite_leaves_the_weights_alone() -> None:
    task = made_task(loss=lambda outputs, targets: outputs.sum() * float("nan"))
    run = TrainingRun(task, TrainerSettings(lr=0.1, batch_size=16), device=CpuDevice(), seed=0)
    before = [weight.clone() for weight in run.model.parameters()]
    assert run.train_epoch() is None
    assert all(torch.equal(weight, old) for weight, old in zip(run.model.parameters(), before, strict=True))


def test_equal_seeds_train_equal_models_whatever_was_drawn_before() -> None:
    def trained(noise: int) -> list[torch.Tensor]:
        torch.rand(noise)
        run = TrainingRun(made_task(), TrainerSettings(batch_size=16), device=CpuDevice(), seed=3)
        run.run_epoch()
        return list(run.model.parameters())

    assert all(torch.equal(a, b) for a, b in zip(trained(1), trained(17), strict=True))


def test_custom_forward_collate_and_optimizer() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.EmbeddingBag(10, 8)
            self.head = nn.Linear(8, 2)

        def forward(self, words: torch.Tensor) -> Any:
            return self.head(self.embed(words))

    def forward(model: nn.Module, batch: Any) -> Any:
        outputs = model(batch[0])
        return nn.functional.cross_entropy(outputs, batch[1]), outputs

    def groups(params: list[torch.Tensor], lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD([{"params": params[:1], "lr": lr}, {"params": params[1:], "lr": lr / 10}], lr=lr)

    task = made_task(
        model=Net,
        train=Words(),
        val=Words(),
        collate=pad,
        forward=forward,
        optimizer=groups,
        metrics={"accuracy": "accuracy"},
    )
    run = TrainingRun(task, TrainerSettings.for_task(task, {"lr": 0.5}), device=CpuDevice(), seed=0)
    run.set_lr(0.2)
    assert [group["lr"] for group in run.optimizer.param_groups] == pytest.approx([0.2, 0.02])
    report = run.run_epoch()
    assert report is not None
    assert 0 <= report.metrics["accuracy"] <= 1


def test_scalar_metrics_only() -> None:
    run = TrainingRun(
        made_task(metrics={"m": lambda o, t: o}), TrainerSettings(batch_size=16), device=CpuDevice(), seed=0
    )
    with pytest.raises(TaskError, match="must return one number"):
        run.run_epoch()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": lambda: "no model"}, r"torch\.nn\.Module, but returned str"),
        ({"loss": lambda o, t: o}, "scalar tensor, but it is a tensor of shape"),
        ({"loss": lambda o, t: o.sum().detach()}, "does not depend on any trainable parameter"),
        ({"model": nn.Identity}, "no trainable parameters"),
        ({"loss": "cross_entrpy"}, "Unknown loss"),
        ({"forward": None, "train": (made_data()[0],)}, r"tuple \(inputs, \.\.\., targets\)"),
    ],
)
def test_tasks_that_break_their_contract(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        TrainingRun(made_task(**changes), TrainerSettings(batch_size=16), device=CpuDevice(), seed=0).train_epoch()


def test_checkpoints_are_whole_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    run = TrainingRun(made_task(), TrainerSettings(batch_size=16), device=CpuDevice(), seed=0)
    save_checkpoint(path, run.state())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(OutputError, match="cannot be read"):
        load_checkpoint(path)
    with pytest.raises(OutputError, match="does not exist"):
        load_checkpoint(tmp_path / "none.pt")
    with pytest.raises(OutputError, match="cannot be written"):
        save_checkpoint(tmp_path / "no such folder" / "c.pt", run.state())
    assert [file.name for file in tmp_path.iterdir()] == ["c.pt"]
