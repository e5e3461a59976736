from __future__ import annotations

import gzip
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets
from idx import idx_bytes, write_mnist

from probe.data.mnist import FILES, read_mnist
from probe.data.registry import load_data
from probe.errors import DataError

IMAGES, LABELS = FILES[:2]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise URLError("no network in tests")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", refuse)


def damaged(data_dir: Path, *, name: str = "mnist") -> str:
    with pytest.raises(DataError) as caught:
        read_mnist(name, data_dir)
    return str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_unpacked_and_packed_files_give_the_same_tensors(tmp_path: Path, packed: bool) -> None:
    write_mnist(tmp_path, packed=packed)
    (images, classes), (test_images, test_classes) = read_mnist("mnist", tmp_path)
    assert images.shape == (60, 28, 28)
    assert test_images.shape == (20, 28, 28)
    assert classes.tolist() == [number % 10 for number in range(60)]
    assert len(test_classes) == 20
    np.testing.assert_array_equal(images.numpy(), np.random.default_rng(0).integers(0, 256, (60, 28, 28)))


def test_the_loaded_data_are_normalized_by_the_training_part(tmp_path: Path) -> None:
    write_mnist(tmp_path, folder="FashionMNIST")
    data = load_data("fashion-mnist", data_dir=tmp_path)
    assert isinstance(data.train, tuple)
    assert isinstance(data.test, tuple)
    images, classes = data.train
    assert data.input_shape == (1, 28, 28)
    assert images.shape == (60, 1, 28, 28)
    assert (images.dtype, classes.dtype) == (torch.float32, torch.int64)
    assert abs(float(images.mean())) < 1e-5
    assert abs(float(images.std()) - 1) < 1e-5
    assert data.test[0].shape == (20, 1, 28, 28)
    assert load_data("fashion-mnist", data_dir=tmp_path) is data


@pytest.mark.parametrize("packed", [False, True])
def test_a_truncated_file_is_named(tmp_path: Path, packed: bool) -> None:
    raw = write_mnist(tmp_path, packed=packed)
    path = raw / (f"{IMAGES}.gz" if packed else IMAGES)
    path.write_bytes(path.read_bytes()[:-1000])
    said = damaged(tmp_path)
    assert said.startswith(f"{path} is ")
    assert "incomplete" in said
    assert "Delete it and run again" in said


def test_a_file_of_too_many_bytes_is_named(tmp_path: Path) -> None:
    path = write_mnist(tmp_path) / LABELS
    path.write_bytes(path.read_bytes() + b"x")
    assert damaged(tmp_path).startswith(f"{path} is damaged: it should have 60 bytes of data, but has 61.")


@pytest.mark.parametrize("content", [b"", b"\0\0\x08", b"<html>404 Not Found</html>", idx_bytes(np.zeros((3, 3)))])
def test_a_file_of_something_else_is_named(tmp_path: Path, content: bytes) -> None:
    path = write_mnist(tmp_path) / IMAGES
    path.write_bytes(content)
    assert damaged(tmp_path).startswith(f"{path} is not an idx file of 3-dimensional bytes.")


@pytest.mark.parametrize(
    "content",
    [b"<html>404 Not Found</html>", gzip.compress(b"x" * 999, mtime=0)[:12], b"\x1f\x8b" * 20],
    ids=["not gzip", "cut short", "garbage"],
)
def test_a_packed_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    path = write_mnist(tmp_path, packed=True) / f"{IMAGES}.gz"
    path.write_bytes(content)
    assert damaged(tmp_path).startswith(f"{path} is damaged or incomplete")


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    raw = write_mnist(tmp_path)
    (raw / LABELS).write_bytes(idx_bytes(np.zeros(59)))
    assert f"{IMAGES} has 60 images, but {LABELS} has 59 labels." in damaged(tmp_path)


def test_labels_that_are_no_digits(tmp_path: Path) -> None:
    raw = write_mnist(tmp_path)
    (raw / LABELS).write_bytes(idx_bytes(np.full(60, 10)))
    assert "has the label 10, but labels are 0 to 9" in damaged(tmp_path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = write_mnist(tmp_path) / IMAGES
    path.unlink()
    path.mkdir()
    assert damaged(tmp_path).startswith(f"{path} cannot be read: Is a directory.")


def test_without_a_network_the_missing_files_and_their_folder_are_named(tmp_path: Path) -> None:
    raw = write_mnist(tmp_path)
    (raw / LABELS).unlink()
    said = damaged(tmp_path)
    assert said.startswith(f"MNIST is not in {raw} and could not be downloaded: ")
    assert f"Put {LABELS} into that folder" in said
    assert f"Put {IMAGES}" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MNIST"], "the half-made download is cleaned up"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert re.match(r".*/file/MNIST/raw cannot be written: .*\nChoose another folder", damaged(blocked))


def test_a_download_arrives_whole_and_says_nothing_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_mnist(tmp_path / "mirror")

    def fetch(url: str, download_root: str, filename: str, md5: str) -> None:
        sys.stdout.write(f"progress of {url}\n")
        name = filename.removesuffix(".gz")
        (Path(download_root) / name).write_bytes((source / name).read_bytes())

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fetch)
    (images, _), _ = read_mnist("mnist", tmp_path / "data")
    assert len(images) == 60
    assert sorted(path.name for path in (tmp_path / "data" / "MNIST" / "raw").iterdir()) == sorted(FILES)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["MNIST"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "progress of" in captured.err


@pytest.mark.skipif(
    not (Path(os.environ.get("PROBE_DATA", "")) / "MNIST" / "raw").is_dir() or "PROBE_DATA" not in os.environ,
    reason="needs the real MNIST in $PROBE_DATA",
)
def test_the_real_mnist() -> None:
    (images, classes), (test_images, test_classes) = read_mnist("mnist", Path(os.environ["PROBE_DATA"]))
    assert images.shape == (60_000, 28, 28)
    assert test_images.shape == (10_000, 28, 28)
    # As torchvision's transforms for MNIST are usually written: Normalize(0.1307, 0.3081).
    assert round(float(images.float().mean()) / 255, 4) == 0.1307
    assert round(float(images.float().std()) / 255, 4) == 0.3081
    assert torch.bincount(classes.long())[:3].tolist() == [5923, 6742, 5958]
    assert torch.bincount(test_classes.long())[:3].tolist() == [980, 1135, 1032]
