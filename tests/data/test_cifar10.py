"""CIFAR-10 on small made files: no network, and every kind of damage."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets.utils

from probe.data import cifar10
from probe.data.cifar10 import CLASS_NAMES, FILES, FOLDER
from probe.data.registry import load_data
from probe.errors import DataError
from probe.tasks.source import NamedSource

PER_FILE = 10


@pytest.fixture(autouse=True)
def _small_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise URLError("no network in tests")

    monkeypatch.setattr(cifar10, "IMAGES_PER_FILE", PER_FILE)
    monkeypatch.setattr(torchvision.datasets.utils, "download_url", refuse)


def made_file(number: int) -> bytes:
    """Images whose first red pixel is the file's number, first green the image's, of classes in turn."""
    random = np.random.default_rng(number)
    images = random.integers(0, 256, (PER_FILE, 3, 32, 32), dtype=np.uint8)
    images[:, 0, 0, 0], images[:, 1, 0, 0] = number, np.arange(PER_FILE)
    classes = (np.arange(PER_FILE) % 10).astype(np.uint8)[:, None]
    return np.concatenate([classes, images.reshape(PER_FILE, -1)], axis=1).tobytes()


def write_cifar10(data_dir: Path) -> Path:
    folder = data_dir / FOLDER
    folder.mkdir(parents=True)
    for number, file in enumerate(FILES):
        (folder / file).write_bytes(made_file(number))
    return folder


def said(data_dir: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_data("cifar10", data_dir=data_dir)
    return str(caught.value)


def test_bytes_become_images_and_classes(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    data = load_data("cifar10", data_dir=tmp_path)
    assert isinstance(data.train, tuple)
    assert isinstance(data.test, tuple)
    images, classes = data.train
    assert (images.shape, images.dtype) == ((5 * PER_FILE, 3, 32, 32), torch.uint8)
    assert images[:, 0, 0, 0].tolist() == [number for number in range(5) for _ in range(PER_FILE)]
    assert images[:, 1, 0, 0].tolist() == list(range(PER_FILE)) * 5
    assert classes.tolist() == [*range(10)] * 5
    assert set(data.test[0][:, 0, 0, 0].tolist()) == {5}
    assert (data.class_names, data.num_outputs, data.input_shape) == (CLASS_NAMES, 10, (3, 32, 32))


def test_the_model_scales_them_by_the_training_part(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    task = NamedSource(model="cnn", data="cifar10", data_dir=tmp_path).build({"width": 4})
    model = task.model()
    seen: list[torch.Tensor] = []
    model.convolutions.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert model(task.train[0]).shape == (5 * PER_FILE, 10)
    torch.testing.assert_close(seen[0].mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[0].std(dim=(0, 2, 3), correction=0), torch.ones(3))
    resized = NamedSource(model="cnn", data="cifar10", data_dir=tmp_path, image_size=16).build({"width": 4})
    assert (resized.train[0].shape[1:], resized.train[0].dtype) == ((3, 16, 16), torch.uint8)
    assert resized.model()(resized.test[0]).shape == (PER_FILE, 10)


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path)
    path = folder / "data_batch_2.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert said(tmp_path).startswith(f"{path} is incomplete: it should have 30,730 bytes, but has 30,729.\nDelete it")
    path.write_bytes(whole + b"x")
    assert said(tmp_path).startswith(f"{path} is damaged: it should have 30,730 bytes")
    path.write_bytes(whole[: 2 * 3073] + b"\x0b" + whole[2 * 3073 + 1 :])
    assert said(tmp_path).startswith(f"{path} is damaged: image 2 has class 11")


def test_files_that_cannot_be_downloaded_are_named(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path)
    (folder / "test_batch.bin").unlink()
    told = said(tmp_path)
    assert told.startswith(
        f"CIFAR-10 is not in {folder} and could not be downloaded: <urlopen error no network in tests>"
    )
    assert "Put test_batch.bin into that folder, from https://" in told
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]


@pytest.mark.parametrize("missing", [None, "data_batch_3.bin"])
def test_a_download_is_unpacked_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str | None
) -> None:
    def fetch(url: str, root: str, filename: str, md5: str) -> None:
        print(f"Downloading {url}")  # noqa: T201  # as torchvision does
        assert len(md5) == 32
        with tarfile.open(Path(root) / filename, "w:gz") as archive:
            for number, file in enumerate(file for file in FILES if file != missing):
                entry = tarfile.TarInfo(f"{FOLDER}/{file}")
                content = made_file(number)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", fetch)
    if missing is None:
        load_data("cifar10", data_dir=tmp_path)
        assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == sorted(FILES)
    else:
        assert "data_batch_3.bin" in said(tmp_path)
        assert list((tmp_path / FOLDER).iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Downloading" in captured.err
