"""What metrics are given: the whole part where it can be joined, lists of samples where not, batches where they ask for them;
and what an evaluation holds on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from made_tasks import made_data, made_task
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from probe.device.cpu import CpuDevice
from probe.device.protocol import Device
from probe.device.simulated import SimulatedDevice
from probe.errors import TaskError
from probe.task import Task
from probe.training.evaluate import Evaluation
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings

LIMITED = SimulatedDevice(2**30)
"""With a limit, evaluation takes batches of the training's size."""


def scores(task: Task, batch_size: int = 8, device: Device = LIMITED) -> Evaluation:
    run = TrainingRun(task, TrainerSettings(batch_size=batch_size), device=device, seed=0)
    return run.evaluate(task.val)


class Detector(nn.Module):
    """For every image as many boxes as it has columns, in the form that torchvision's detectors have."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        return [{"boxes": self.scale * image.sum(0)[:, None].expand(-1, 4)} for image in images]


def detection_task(metric: Any) -> Task:
    images = [torch.full((3, 1 + index % 3), float(index)) for index in range(24)]

    def forward(model: nn.Module, batch: Any) -> Any:
        boxes = model(batch[0])
        return torch.stack([found["boxes"].mean() for found in boxes]).mean(), boxes

    def collate(samples: list[Any]) -> Any:
        return [image for image, _ in samples], [{"boxes": 3 * image[0]} for image, _ in samples]

    data = [(image, 0) for image in images]
    return Task(model=Detector, train=data, val=data, forward=forward, collate=collate, metrics={"shown": metric})


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 24])
def test_a_list_of_samples_reaches_a_callable_as_one_list(batch_size: int) -> None:
    def metric(outputs: Any, targets: Any) -> float:
        assert len(outputs) == len(targets) == 24
        hits = [
            torch.equal(found["boxes"][:, 0], given["boxes"]) for found, given in zip(outputs, targets, strict=True)
        ]
        return sum(hits) / len(hits)

    assert scores(detection_task(metric), batch_size).metrics == {"shown": 1.0}


class Tagger(nn.Module):
    """(samples, classes, length), as PyTorch's cross entropy takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        scored: Tensor = self.embed(tokens).movedim(2, 1)
        return scored


SENTENCES = [torch.arange(1 + index % 7) for index in range(20)]


def tagging_task(metrics: Any) -> Task:
    def collate(samples: list[Any]) -> Any:
        tokens = pad_sequence(samples, batch_first=True)
        return tokens, pad_sequence([sample % 5 for sample in samples], batch_first=True, padding_value=-100)

    return Task(model=Tagger, train=SENTENCES, val=SENTENCES, collate=collate, metrics=metrics)


def by_sentence(outputs: Any, targets: Any) -> float:
    right = torch.cat(
        [(found.argmax(0) == given)[given != -100] for found, given in zip(outputs, targets, strict=True)]
    )
    return right.float().mean().item()


def test_padded_outputs_reach_a_callable_as_a_list_and_a_name_is_summed() -> None:
    def kinds(outputs: Any, targets: Any) -> float:
        assert isinstance(outputs, list)
        assert [len(part) for part in (outputs, targets)] == [20, 20]
        assert outputs[0].shape == (5, 7)
        return by_sentence(outputs, targets)

    found = scores(tagging_task({"mine": kinds, "accuracy": "accuracy", "error": "error_rate"}), 8).metrics
    whole = scores(tagging_task({"mine": by_sentence, "accuracy": "accuracy"}), 20).metrics
    assert found["accuracy"] == pytest.approx(found["mine"]) == pytest.approx(1 - found["error"])
    assert whole == pytest.approx({name: found[name] for name in whole}), "one batch, which is joined as it is"


def test_the_whole_part_is_joined_and_on_the_host() -> None:
    seen: list[Any] = []

    def metric(outputs: Tensor, targets: Tensor) -> Tensor:
        seen.append((outputs, targets))
        return (outputs.argmax(1) == targets).float().mean()

    found = scores(made_task(metrics={"mine": metric, "accuracy": "accuracy", "rmse": lambda o, t: 0.5}))
    ((outputs, targets),) = seen
    assert outputs.shape == (45, 3)
    assert torch.equal(targets, made_data(45, seed=1)[1])
    assert list(found.metrics) == ["mine", "accuracy", "rmse"]
    assert found.metrics["mine"] == pytest.approx(found.metrics["accuracy"])


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (lambda scored: {"loss": scored.mean(), "logits": scored}, r"outputs\['loss'\] is a tensor of shape \(\)"),
        (lambda scored: scored.flatten(), r"outputs is a tensor of shape \(24,\) for a batch of 8"),
        (lambda scored: [scored[:5], scored[5:]], r"outputs\[0\] is a tensor of shape \(5, 3\)"),
    ],
)
def test_outputs_without_samples_are_refused_by_the_metrics_name(outputs: Callable[[Tensor], Any], words: str) -> None:
    def forward(model: nn.Module, batch: Any) -> Any:
        scored = model(batch[0])
        return nn.functional.cross_entropy(scored, batch[1]), outputs(scored)

    task = made_task(forward=forward, metrics={"mine": lambda outputs, targets: 0.5})
    with pytest.raises(TaskError, match=f"Metric 'mine' .*{words}") as caught:
        scores(task)
    assert "compute()" in str(caught.value.hint)


class Share:
    """A metric as torchmetrics has them: how often outputs are right, sums that are lost where `reset` is not called."""

    def __init__(self) -> None:
        self.right, self.count = 1000.0, 1000
        self.devices: list[str] = []
        self.sizes: list[int] = []

    def reset(self) -> None:
        self.right, self.count = 0.0, 0

    def to(self, device: torch.device) -> Share:
        self.devices.append(str(device))
        return self

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.right += float((outputs.argmax(1) == targets).sum())
        self.count += len(targets)
        self.sizes.append(len(targets))
        assert self.devices == ["cpu"]

    def compute(self) -> Tensor:
        assert self.sizes == [8, 8, 8, 8, 8, 5]
        return torch.tensor(self.right / self.count)


def test_an_object_with_update_and_compute_sees_batches_and_is_not_shared() -> None:
    metric = Share()
    task = made_task(metrics={"share": metric, "accuracy": "accuracy"})
    run = TrainingRun(task, TrainerSettings(batch_size=8), device=LIMITED, seed=0)
    first, again = (run.evaluate(task.val).metrics for _ in range(2))
    assert first == again
    assert first["share"] == pytest.approx(first["accuracy"])
    assert (metric.count, metric.devices, metric.sizes) == (1000, [], [])
    report = run.run_epoch()
    assert report is not None
    assert set(report.train_metrics) == {"accuracy"}


def test_metrics_of_torchmetrics_are_accepted_as_they_are() -> None:
    classification = pytest.importorskip("torchmetrics.classification")
    metric = classification.MulticlassAccuracy(num_classes=3, average="micro")
    found = scores(made_task(metrics={"theirs": metric, "accuracy": "accuracy"})).metrics
    assert found["theirs"] == pytest.approx(found["accuracy"])
    per_class = classification.MulticlassAccuracy(num_classes=3, average="none")
    with pytest.raises(TaskError, match="Metric 'theirs' must return one number, but returned Tensor"):
        scores(made_task(metrics={"theirs": per_class}))


@pytest.mark.parametrize(("metric", "words"), [(Share, "is the class Share"), (3, "type int"), (None, "type NoneType")])
def test_what_is_no_metric_is_refused_when_the_task_is_made(metric: Any, words: str) -> None:
    with pytest.raises(TaskError, match=f"Metric 'mine' .*{words}"):
        made_task(metrics={"mine": metric})


def segmentation_task(num_val: int, metrics: Any) -> Task:
    def data(count: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(count, 3, 32, 32), torch.zeros(count, 32, 32, dtype=torch.long)

    return Task(model=lambda: nn.Conv2d(3, 20, 1), train=data(4), val=data(num_val), metrics=metrics)


def iou(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) == targets).float().mean()


@pytest.mark.parametrize("metric", [iou, "accuracy", "error_rate"])
def test_the_peak_of_an_evaluation_does_not_grow_with_the_number_of_batches(metric: Any) -> None:
    def peak(num_val: int, metrics: Any) -> int:
        device = SimulatedDevice(2**30)
        task = segmentation_task(num_val, metrics)
        with device.track():
            run = TrainingRun(task, TrainerSettings(batch_size=2), device=device, seed=0)
            run.evaluate(task.val)
        return device.read_memory().peak_allocated_bytes

    one, many = (peak(num_val, {"shown": metric}) for num_val in (2, 40))
    outputs_bytes = 2 * 20 * 32 * 32 * 4
    assert many <= one + 100
    assert one <= peak(2, {}) + outputs_bytes


@pytest.mark.parametrize("loaded", [False, True])
def test_training_holds_one_batch_at_a_time(loaded: bool) -> None:
    inputs, targets = torch.zeros(40, 1000), torch.zeros(40, dtype=torch.long)
    train = [(row, 0) for row in inputs] if loaded else (inputs, targets)
    task = Task(model=lambda: nn.Linear(1000, 2), train=train, val=train)
    device = SimulatedDevice(2**30)
    with device.track():
        run = TrainingRun(task, TrainerSettings(batch_size=20, optimizer="sgd"), device=device, seed=0)
        run.run_epoch()
    batch_bytes, model_bytes = 20 * 1000 * 4, 4 * 2002
    assert batch_bytes <= device.read_memory().peak_allocated_bytes < 1.5 * batch_bytes + 3 * model_bytes


def test_the_loss_is_the_mean_over_samples_however_they_are_batched() -> None:
    whole, parts = (scores(made_task(), size, CpuDevice() if size > 45 else LIMITED).loss for size in (64, 8))
    assert parts == pytest.approx(whole)
