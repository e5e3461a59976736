"""Another training loss and augmentation: what is minimized, what is reported, and that nothing of it reaches evaluation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from made_tasks import made_data, made_task, small_net
from torch import Tensor

from probe.device.cpu import CpuDevice
from probe.errors import TaskError
from probe.loading.batch import Batch
from probe.records_json import to_plain
from probe.tasks.losses import ClassificationLoss
from probe.training.checkpoint import load_checkpoint, save_checkpoint
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings

CONTINUE = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from probe.training.checkpoint import load_checkpoint
from test_training_loss import numbers, started
run = started()
run.restore(load_checkpoint(Path({checkpoint!r})))
print(numbers([run.run_epoch() for _ in range(2)]))
"""


def noisy(batch: Any) -> Any:
    inputs, targets = batch
    return inputs + 0.1 * torch.randn_like(inputs), targets


def started(task: Any = None, **settings: Any) -> TrainingRun:
    task = (
        made_task(augment=noisy, train_loss=ClassificationLoss(gamma=2, label_smoothing=0.1)) if task is None else task
    )
    settings = {"optimizer": "adam", "lr": 0.01, "batch_size": 16, "epochs": 4, **settings}
    return TrainingRun(task, TrainerSettings(**settings), device=CpuDevice(), seed=5)


def numbers(reports: list[Any]) -> list[Any]:
    return [{name: value for name, value in to_plain(report).items() if "seconds" not in name} for report in reports]


def test_training_minimizes_one_loss_and_reports_the_other() -> None:
    batch = Batch(tuple(tensor[:16] for tensor in made_data()), 16)
    net = small_net(dropout=0.0)

    def model() -> torch.nn.Module:
        copy = small_net(dropout=0.0)
        copy.load_state_dict(net.state_dict())
        return copy

    plain = started(made_task(model=model), optimizer="sgd")
    focal = started(made_task(model=model, train_loss=ClassificationLoss(gamma=2)), optimizer="sgd")
    as_loss = started(made_task(model=model, loss=ClassificationLoss(gamma=2)), optimizer="sgd")
    reported = [run.train_step(batch).item() for run in (plain, focal, as_loss)]
    assert reported[1] == pytest.approx(reported[0])  # cross-entropy, before the step
    assert reported[2] != pytest.approx(reported[0])
    weights = [torch.cat([weight.flatten() for weight in run.model.parameters()]) for run in (plain, focal, as_loss)]
    torch.testing.assert_close(weights[1], weights[2])
    assert not torch.allclose(weights[0], weights[1], rtol=1e-6, atol=1e-7)
    assert focal.evaluate(focal.task.val).loss != as_loss.evaluate(as_loss.task.val).loss


def test_the_reported_loss_is_the_same_in_micro_batches_and_under_autocast() -> None:
    batch = Batch(tuple(tensor[:16] for tensor in made_data()), 16)
    task = made_task(model=lambda: torch.nn.Linear(6, 3), train_loss="focal")
    whole, split = started(task).train_step(batch), started(task, gradient_accumulation=4).train_step(batch)
    torch.testing.assert_close(split, whole)
    torch.testing.assert_close(started(task, precision="bf16").train_step(batch).float(), whole, rtol=0.02, atol=0.02)


def test_a_training_loss_that_is_not_finite_ends_the_run() -> None:
    def broken(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.sum() * float("nan")

    run = started(made_task(train_loss=broken))
    before = [weight.clone() for weight in run.model.parameters()]
    assert run.train_epoch() is None
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))


def test_augmentation_is_for_training_alone() -> None:
    seen: list[tuple[int, bool]] = []

    def watched(batch: Any) -> Any:
        seen.append((len(batch[0]), torch.is_grad_enabled()))
        return batch

    run = started(made_task(augment=watched), gradient_accumulation=2)
    run.run_epoch()
    assert seen == [(16, False)] * 7 + [
        (8, False)
    ]  # whole batches, the last one smaller; none of the 45 validation samples
    run.evaluate(run.task.val)
    run.eval_step(Batch(made_data(4), 4))
    assert len(seen) == 8


def test_augmentation_draws_alike_however_the_batch_is_split() -> None:
    task = made_task(model=lambda: torch.nn.Linear(6, 3), augment=noisy)
    losses = [started(task, gradient_accumulation=parts).train_epoch() for parts in (1, 2)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(started(made_task(model=lambda: torch.nn.Linear(6, 3))).train_epoch(), rel=1e-5)


def test_four_epochs_equal_two_and_two_in_a_new_process(tmp_path: Path) -> None:
    whole = started()
    expected = numbers([whole.run_epoch() for _ in range(4)])
    part = started()
    for _ in range(2):
        part.run_epoch()
    checkpoint = tmp_path / "two.pt"
    save_checkpoint(checkpoint, part.state())
    again = started()
    again.restore(load_checkpoint(checkpoint))
    assert numbers([again.run_epoch() for _ in range(2)]) == expected[2:]
    program = CONTINUE.format(
        path=[str(Path(__file__).parent), str(Path(__file__).parents[1] / "support"), *sys.path],
        checkpoint=str(checkpoint),
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(expected[2:]), done.stderr


def test_names_and_mistakes() -> None:
    with pytest.raises(TaskError, match=r"Task\.train_loss cannot be combined with Task\.forward"):
        made_task(train_loss="focal", forward=lambda model, batch: (model(batch[0]).sum(), None))
    with pytest.raises(TaskError, match=r"Task\.augment must be callable"):
        made_task(augment=3)
    with pytest.raises(TaskError, match=r"Task\.loss must be callable"):
        made_task(loss=None)
    with pytest.raises(TaskError, match="Unknown loss 'focl'"):
        started(made_task(train_loss="focl"))
    with pytest.raises(TaskError, match="Unknown augmentation 'shfit'"):
        started(made_task(augment="shfit"))
    with pytest.raises(TaskError, match=r"Task\.augment .*NoneType"):
        started(made_task(augment=lambda batch: None)).train_epoch()
    with pytest.raises(TaskError, match="The loss must be a scalar tensor"):
        started(made_task(train_loss=lambda outputs, targets: outputs)).train_epoch()
