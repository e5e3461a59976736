from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from idx import write_mnist
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader

from probe.data import built_in
from probe.data import images as images_module
from probe.data.built_in import SyntheticImages
from probe.data.images import ResizedImages, resize_images
from probe.data.registry import KINDS, NAMED, DataSource, data_source, load_data
from probe.errors import DataError
from probe.limits import Whole
from probe.tasks.source import NamedSource


def test_digits_are_scaled_split_and_stratified(tmp_path: Path) -> None:
    data = load_data("digits", data_dir=tmp_path)
    assert isinstance(data.train, tuple)
    assert isinstance(data.test, tuple)
    (images, classes), (test_images, test_classes) = data.train, data.test
    assert len(images) + len(test_images) == 1797
    assert images.shape[1:] == data.input_shape == (1, 8, 8)
    assert (images.dtype, classes.dtype) == (torch.float32, torch.int64)
    assert float(images.min()) == 0
    assert float(images.max()) == 1
    shares = torch.bincount(test_classes) / (torch.bincount(classes) + torch.bincount(test_classes))
    assert ((shares - 0.2).abs() < 0.01).all()


def test_digits_parts_share_no_image_beyond_the_duplicates_of_the_data_set(tmp_path: Path) -> None:
    data = load_data("digits", data_dir=tmp_path)
    assert isinstance(data.train, tuple)
    assert isinstance(data.test, tuple)
    train = {image.numpy().tobytes() for image in data.train[0]}
    assert not [image for image in data.test[0] if image.numpy().tobytes() in train]


@pytest.mark.parametrize("file", [built_in._DIGITS_FILE, ("moved", "elsewhere.csv")])
def test_digits_are_scikit_learns_wherever_it_keeps_them(
    monkeypatch: pytest.MonkeyPatch, file: tuple[str, ...]
) -> None:
    monkeypatch.setattr(built_in, "_DIGITS_FILE", file)
    table = built_in._read_digits()
    expected = load_digits()
    np.testing.assert_array_equal(table[:, :-1].reshape(-1, 8, 8), expected.images)
    np.testing.assert_array_equal(table[:, -1], expected.target)


def test_a_built_in_model_on_digits_needs_neither_torchvision_nor_scikit_learn() -> None:
    code = (
        "import sys; from probe.tasks.source import NamedSource; task = NamedSource(model='cnn', data='digits').build({});"
        "task.model(); sys.exit(any(name in sys.modules for name in ('torchvision', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_data_are_loaded_once_a_process(tmp_path: Path) -> None:
    assert load_data("digits", data_dir=tmp_path) is load_data("digits", data_dir=tmp_path)


def test_an_unknown_data_set_names_similar_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Unknown data set 'minst'.\nDid you mean mnist"):
        load_data("minst", data_dir=tmp_path)


def test_images_are_resized_whole_where_they_fit(tmp_path: Path) -> None:
    data = load_data("digits", data_dir=tmp_path, image_size=32)
    original = load_data("digits", data_dir=tmp_path)
    assert isinstance(data.train, tuple)
    assert isinstance(original.train, tuple)
    assert data.train[0].shape == (len(original.train[0]), 1, 32, 32)
    assert data.input_shape == (1, 32, 32)
    assert data.train[1] is original.train[1]
    assert load_data("digits", data_dir=tmp_path, image_size=8) is original


def test_images_are_resized_by_the_batch_where_they_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probe.data.images.MAX_RESIZED_BYTES", 60 * 32 * 32 * 4 - 1)
    write_mnist(tmp_path)
    data = load_data("mnist", data_dir=tmp_path, image_size=32)
    original = load_data("mnist", data_dir=tmp_path)
    assert isinstance(original.train, tuple)
    assert isinstance(data.train, ResizedImages)
    assert isinstance(data.test, tuple), "20 images fit"
    batch, classes = next(iter(DataLoader(data.train, batch_size=7)))
    torch.testing.assert_close(batch, resize_images(original.train[0][:7], 32))
    assert classes.tolist() == [0, 1, 2, 3, 4, 5, 6]
    torch.testing.assert_close(data.train[3][0], batch[3])
    assert len(data.train) == 60


def test_resizing_keeps_a_flat_image_flat_and_works_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "_CHUNK", 2)
    resized = resize_images(torch.full((5, 3, 10, 12), 0.25), 4)
    assert resized.shape == (5, 3, 4, 4)
    torch.testing.assert_close(resized, torch.full((5, 3, 4, 4), 0.25))


def test_synthetic_images_are_cheap_endless_and_the_same_every_time(tmp_path: Path) -> None:
    data = load_data("synthetic", data_dir=tmp_path, image_size=16)
    train = data.train
    assert isinstance(train, SyntheticImages)
    assert data.test is None
    assert train.unbounded
    assert data.input_shape == (3, 16, 16)
    assert data.num_outputs == 1000
    image, target = train[len(train) + 5]
    assert image.shape == (3, 16, 16)
    assert 0 <= int(target) < 1000
    torch.testing.assert_close(SyntheticImages(16)[5][0], train[5][0])
    with pytest.raises(IndexError):
        train[-1]


def test_synthetic_images_have_224_pixels_unless_told_otherwise(tmp_path: Path) -> None:
    assert load_data("synthetic", data_dir=tmp_path).input_shape == (3, 224, 224)


@pytest.mark.parametrize("source", [*NAMED.values(), *KINDS.values()], ids=[*NAMED, *KINDS])
def test_every_module_of_the_registry_keeps_the_protocol(source: DataSource) -> None:
    module = importlib.import_module(source.module)
    assert callable(module.load)
    if source.download is not None:
        assert callable(importlib.import_module(source.download.module).fetch)


def test_a_new_kind_of_data_needs_its_module_and_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "fake", DataSource(module="fake_data", hyperparameters={"num_columns": Whole(1, 9)}))
    assert set(data_source("fake:some/path").hyperparameters) == {"num_columns"}
    data = load_data("fake:some/path", data_dir=tmp_path, params={"num_columns": 5})
    assert data.input_shape == (5,)
    task = NamedSource(model="mlp", data="fake:some/path", data_dir=tmp_path).build({"num_columns": 4, "width": 8})
    assert task.metrics == {"accuracy": "accuracy"}
    assert task.model()(task.train[0]).shape == (20, 2)
    with pytest.raises(DataError, match="fake, folder"):
        load_data("nothing-alike:some/path", data_dir=tmp_path)
