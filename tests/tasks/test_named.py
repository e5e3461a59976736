from __future__ import annotations

import pickle
from pathlib import Path

import cloudpickle
import pytest
import torch

from probe.data.built_in import SyntheticImages
from probe.errors import DataError, TaskError
from probe.tasks.source import NamedSource


def test_a_named_task_is_whole(tmp_path: Path) -> None:
    source = NamedSource(model="cnn", data="digits", data_dir=tmp_path)
    task = source.build({"width": 4, "dropout": 0.2})
    assert task.name == "cnn on digits"
    assert (task.loss, dict(task.metrics), task.stratify) == ("cross_entropy", {"accuracy": "accuracy"}, True)
    assert task.val is None
    assert task.test is not None
    model = task.model()
    assert model(task.train[0][:3]).shape == (3, 10)
    assert model is not task.model()


def test_tasks_of_one_source_share_their_data(tmp_path: Path) -> None:
    source = NamedSource(model="mlp", data="digits", data_dir=tmp_path)
    assert source.build({}).train is source.build({"depth": 1}).train


def test_a_named_task_survives_pickling(tmp_path: Path) -> None:
    task = NamedSource(model="cnn", data="digits", data_dir=tmp_path).build({"layers": 1})
    again = pickle.loads(cloudpickle.dumps(task))
    torch.testing.assert_close(again.train[0], task.train[0])
    assert len(list(again.model().parameters())) == len(list(task.model().parameters()))
    assert len(cloudpickle.dumps(task.model)) < 1000, "the factory names the model and carries none of its data"


def test_synthetic_images_for_a_model_by_its_short_name(tmp_path: Path) -> None:
    task = NamedSource(model="squeezenet", image_size=32, data_dir=tmp_path).build({})
    assert isinstance(task.train, SyntheticImages)
    assert not task.stratify
    assert task.model().eval()(task.train[0][0][None]).shape == (1, 1000)


def test_gray_digits_in_a_torchvision_model(tmp_path: Path) -> None:
    task = NamedSource(model="resnet18", data="digits", image_size=32, data_dir=tmp_path).build({})
    assert task.model().eval()(task.train[0][:2]).shape == (2, 10)


def test_what_is_wrong_is_said_before_anything_is_loaded_or_trained(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="Unknown model 'cnm'"):
        NamedSource(model="cnm", data="digits", data_dir=tmp_path).build({})
    with pytest.raises(TaskError, match="Unknown hyperparameter of cnn on digits: 'depth'"):
        NamedSource(model="cnn", data="digits", data_dir=tmp_path).build({"depth": 2})
    with pytest.raises(DataError, match="Unknown data set 'digit'"):
        NamedSource(model="cnn", data="digit", data_dir=tmp_path).build({})
    with pytest.raises(TaskError, match="vit_b_16 takes square images"):
        NamedSource(model="vit", data="digits", data_dir=tmp_path).build({})
    with pytest.raises(TaskError, match="Unknown model"):
        NamedSource(model="cnm").keywords()
