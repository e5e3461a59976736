"""Files shaped like MNIST's, made by the tests: no network, and every kind of damage."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_mnist(
    data_dir: Path, *, folder: str = "MNIST", num_train: int = 60, num_test: int = 20, packed: bool = False
) -> Path:
    """Four files of random 28 x 28 images with labels 0 to 9 in turn; returns the folder they are in."""
    raw = data_dir / folder / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", num_train), ("t10k", num_test)):
        contents = {
            f"{part}-images-idx3-ubyte": idx_bytes(random.integers(0, 256, (count, 28, 28))),
            f"{part}-labels-idx1-ubyte": idx_bytes(np.arange(count) % 10),
        }
        for name, content in contents.items():
            if packed:
                (raw / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (raw / name).write_bytes(content)
    return raw
