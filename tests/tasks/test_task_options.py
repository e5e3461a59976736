"""Losses, augmentation and a smaller training part as hyperparameters of named tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from probe.errors import DataError, TaskError
from probe.tasks.augment import ImageAugmentation
from probe.tasks.losses import ClassificationLoss
from probe.tasks.options import OPTIONS, TaskOptions, read_options
from probe.tasks.source import NamedSource


def digits(tmp_path: Path, **changes: Any) -> NamedSource:
    return NamedSource(**{"model": "mlp", "data": "digits", "data_dir": tmp_path, **changes})


def test_a_named_tasks_hyperparameters_are_the_models_and_the_options(tmp_path: Path) -> None:
    known = digits(tmp_path).keywords()
    assert known is not None
    assert {"width", *OPTIONS} <= set(known)


@pytest.mark.parametrize(
    ("params", "train_loss"),
    [
        ({}, None),
        ({"loss": "cross_entropy", "label_smoothing": 0.0}, None),
        ({"label_smoothing": 0.1}, ClassificationLoss(label_smoothing=0.1)),
        ({"loss": "focal"}, ClassificationLoss(gamma=2.0)),
        ({"loss": "focal", "focal_gamma": 0.5}, ClassificationLoss(gamma=0.5)),
        ({"loss": "focal", "focal_gamma": 0, "label_smoothing": 0.2}, ClassificationLoss(label_smoothing=0.2)),
        ({"loss": "focal", "focal_gamma": 0}, None),
    ],
)
def test_what_is_minimized_and_what_is_reported(params: dict[str, Any], train_loss: Any, tmp_path: Path) -> None:
    task = digits(tmp_path).build(params)
    assert task.loss == "cross_entropy"
    assert task.train_loss == train_loss


def test_augmentation_of_a_named_task(tmp_path: Path) -> None:
    assert digits(tmp_path).build({"augmentation": "none", "augmentation_strength": 0.5}).augment is None
    task = digits(tmp_path).build({"augmentation": "shift+cutout", "augmentation_strength": 0.5})
    assert task.augment == ImageAugmentation(name="shift+cutout", strength=0.5)


def test_regression_has_losses_of_its_own() -> None:
    assert read_options({"loss": "smooth_l1"}, task_type="regression", is_images=False).loss == "smooth_l1"
    for params, message in (
        ({"loss": "focal"}, "loss focal is not for regression"),
        ({"label_smoothing": 0.1}, "label_smoothing is for classification"),
        ({"augmentation": "shift"}, "augmentation 'shift' is for images"),
    ):
        with pytest.raises(TaskError, match=message):
            read_options(params, task_type="regression", is_images=False)
    assert read_options({"augmentation": "none"}, task_type="regression", is_images=False) == TaskOptions(
        augmentation="none"
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss": "mse"}, "loss mse is not for classification"),
        ({"loss": "focall"}, "Unknown loss 'focall'"),
        ({"focal_gamma": 1.0}, "focal_gamma belongs to the focal loss, not to cross_entropy"),
        ({"label_smoothing": 1}, "label_smoothing must be a number from 0 to below 1, not 1"),
        ({"label_smoothing": True}, "label_smoothing must be a number"),
        ({"augmentation": "mirror"}, "Unknown augmentation 'mirror'"),
        ({"augmentation_strength": 1.0}, "augmentation_strength is given without augmentation"),
        ({"augmentation": "flip", "augmentation_strength": 0}, "above 0 and at most 4, not 0"),
    ],
)
def test_mistakes_are_named(params: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=message):
        digits(tmp_path).build(params)


def test_fewer_training_samples_have_the_classes_proportions_and_are_shared(tmp_path: Path) -> None:
    source = digits(tmp_path, num_train=200, subset_seed=3)
    assert source.title == "mlp on digits, 200 training samples"
    task, whole = source.build({}), digits(tmp_path).build({})
    assert len(task.train[0]) == len(task.train[1]) == 200
    assert torch.bincount(task.train[1]).tolist() == pytest.approx([20] * 10, abs=2)
    assert source.build({"width": 8}).train is task.train
    torch.testing.assert_close(task.test[0], whole.test[0])
    more = digits(tmp_path, num_train=400, subset_seed=3).build({})
    larger = {tuple(row) for row in more.train[0].flatten(1).tolist()}
    assert {tuple(row) for row in task.train[0].flatten(1).tolist()} <= larger
    other = digits(tmp_path, num_train=200, subset_seed=4).build({})
    assert not torch.equal(other.train[0], task.train[0])


def test_no_more_than_there_are(tmp_path: Path) -> None:
    available = len(digits(tmp_path).build({}).train[0])
    with pytest.raises(DataError, match=f"num_train is {available}, but digits has {available} training samples"):
        digits(tmp_path, num_train=available).build({})
    with pytest.raises(DataError, match="creates its samples on access"):
        NamedSource(model="squeezenet", image_size=32, data_dir=tmp_path, num_train=100).build({})
