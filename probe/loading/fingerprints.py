"""Fingerprints of a task's data, and the positions and hashes of samples that show whether splits overlap.

Data sets are not copied. Samples in tensors are hashed in place; of other data sets, only some samples are read.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from probe.errors import DataError
from probe.loading.dataset import is_unbounded
from probe.loading.overlap import Hashes, Positions, SplitSamples
from probe.loading.random_state import seed_everything
from probe.task import Task

SPLITS = ("train", "val", "test")
MAX_HASHED_BYTES = 256 * 2**20
"""Splits of tensors up to this size are compared row by row."""
MAX_READ_BYTES, MAX_READ_SAMPLES = 32 * 2**20, 500
"""Amount to read of a data set that is read sample by sample, to compare it with another split."""
MAX_PRINTED_BYTES, NUM_PRINTED_ROWS, NUM_PRINTED_SAMPLES = 2**20, 256, 16
"""A fingerprint includes all rows up to this size, else this many rows, or this many samples that are read one by one."""
MAX_DEPTH = 16


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Samples at some positions of one data set."""

    base: Any
    """A tuple of arrays of equal length, or a map-style data set."""
    positions: Positions

    @property
    def is_arrays(self) -> bool:
        """Whether the samples are rows of dense arrays, so that they need not be read one by one."""
        return isinstance(self.base, tuple) and all(map(_is_dense, self.base))


def pieces_of(data: Any) -> list[Piece]:
    """The data sets that `data` selects from, through subsets and concatenations."""
    if isinstance(data, tuple):
        return [Piece(data, np.arange(len(data[0])))]
    if isinstance(data, TensorDataset):
        return pieces_of(tuple(data.tensors))
    if isinstance(data, Subset):
        return _selected(pieces_of(data.dataset), np.asarray(data.indices, dtype=np.int64))
    if isinstance(data, ConcatDataset):
        return [piece for inner in data.datasets for piece in pieces_of(inner)]
    return [Piece(data, np.arange(len(data)))]


def read_splits(task: Task) -> dict[str, SplitSamples]:
    """The samples of each split, for `find_overlaps`. Raises DataError for a sample that cannot be read."""
    found = _splits_of(task)
    pieces = {name: pieces_of(data) for name, data in found.items()}
    every = [piece for of_split in pieces.values() for piece in of_split]
    by_rows = all(piece.is_arrays for piece in every) and sum(map(_num_bytes, every)) <= MAX_HASHED_BYTES
    return {
        name: SplitSamples(
            num_samples=len(data[0]) if isinstance(data, tuple) else len(data),
            places=_places(pieces[name]),
            rows=_row_hashes(pieces[name]) if by_rows else _sample_hashes(data),
        )
        for name, data in found.items()
    }


def fingerprints(task: Task) -> dict[str, str]:
    """One fingerprint per split: equal for the same samples in the same order, on every machine."""
    return {name: fingerprint(data) for name, data in _splits_of(task).items()}


def fingerprint(data: Any) -> str:
    """A hash of the positions of all samples and of the content of some. Content that differs each time it is read, even with
    seeded generators, is ignored."""
    digest = hashlib.blake2b(digest_size=8)
    for piece in pieces_of(data):
        digest.update(piece.positions.tobytes())
        if piece.is_arrays:
            rows = piece.positions
            if _num_bytes(piece) > MAX_PRINTED_BYTES:
                rows = rows[np.linspace(0, len(rows) - 1, NUM_PRINTED_ROWS).astype(np.int64)]
            for array in piece.base:
                _feed(digest, _rows(array, rows))
            continue
        rows = np.unique(np.linspace(0, len(piece.positions) - 1, NUM_PRINTED_SAMPLES).astype(np.int64))
        for position in piece.positions[rows]:
            once, again = (_sample_hash(piece.base, int(position)) for _ in range(2))
            digest.update(str(once if once == again else "varies").encode())
    return digest.hexdigest()


def _splits_of(task: Task) -> dict[str, Any]:
    """The splits that the task has, without data sets that generate samples without end."""
    found = {name: getattr(task, name) for name in SPLITS}
    return {name: data for name, data in found.items() if data is not None and not is_unbounded(data)}


def _selected(pieces: Sequence[Piece], indices: Positions) -> list[Piece]:
    """The samples with these indices into all pieces together, in the order of `indices` within each piece."""
    found, first = [], 0
    for piece in pieces:
        inside = indices[(indices >= first) & (indices < first + len(piece.positions))]
        found.append(Piece(piece.base, piece.positions[inside - first]))
        first += len(piece.positions)
    return found


def _num_bytes(piece: Piece) -> int:
    return len(piece.positions) * sum(array[:1].nbytes for array in piece.base) if piece.is_arrays else 0


def _places(pieces: Sequence[Piece]) -> dict[str, Positions]:
    """Positions of the samples: addresses of the first array's rows, or positions in a data set given by its id; of a data set
    that wraps another one of the same length, those in the inner one."""
    found: dict[str, list[Positions]] = {}
    for piece in _unwrapped(pieces):
        space, places = str(id(piece.base)), piece.positions
        if piece.is_arrays:
            space, places = _addresses(piece.base[0], piece.positions)
        found.setdefault(space, []).append(places)
    return {space: np.concatenate(places) for space, places in found.items()}


def _unwrapped(pieces: Sequence[Piece]) -> Iterator[Piece]:
    for piece in pieces:
        wrapped = (getattr(piece.base, name, None) for name in ("dataset", "subset"))
        inner = next((data for data in wrapped if hasattr(data, "__len__") and hasattr(data, "__getitem__")), None)
        if inner is None or len(inner) != len(piece.base):
            yield piece
        else:
            yield from _unwrapped(_selected(pieces_of(inner), piece.positions))


def _addresses(array: Any, positions: Positions) -> tuple[str, Positions]:
    """Addresses of rows, which PyTorch tensors and NumPy arrays with shared memory have in common."""
    if isinstance(array, Tensor) and array.stride(0):
        return str(array.device), array.data_ptr() + positions * (array.stride(0) * array.element_size())
    if isinstance(array, np.ndarray) and array.strides[0]:
        return "cpu", array.__array_interface__["data"][0] + positions * array.strides[0]
    return str(id(array)), positions


def _row_hashes(pieces: Sequence[Piece]) -> Hashes:
    """A 64-bit hash of each sample: the sum of its eight-byte words, each mixed with its position in the sample."""
    found = []
    for piece in pieces:
        total = np.zeros(len(piece.positions), dtype=np.uint64)
        for number, array in enumerate(piece.base):
            words = _words(_rows(array, piece.positions))
            salts = np.random.default_rng(number).integers(0, 2**64, size=words.shape[1], dtype=np.uint64)
            for column, salt in enumerate(salts):  # column by column, to save memory
                total += _mixed(words[:, column] ^ salt)
        found.append(total)
    return np.concatenate(found)


def _mixed(words: Hashes) -> Hashes:
    """The finalizer of SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"): a bijection
    in which every bit depends on every bit."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _words(rows: Any) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The bytes of each row as eight-byte words, padded with zeros: shape (rows, words)."""
    flat = np.frombuffer(_bytes_of(rows), dtype=np.uint8).reshape(len(rows), -1)
    padded = np.pad(flat, ((0, 0), (0, -flat.shape[1] % 8)))
    return np.ascontiguousarray(padded).view(np.uint64)


def _rows(array: Any, positions: Positions) -> Any:
    return array[torch.from_numpy(positions)] if isinstance(array, Tensor) else array[positions]


def _sample_hashes(data: Any) -> Hashes:
    """Hashes of some samples, read one by one, at the same positions in data of equal length."""
    count = len(data[0]) if isinstance(data, tuple) else len(data)
    size = max(1, sum(map(len, _contents(_read(data, 0)))))
    wanted = min(count, MAX_READ_SAMPLES, max(1, MAX_READ_BYTES // size))
    chosen = np.sort(np.random.default_rng(0).choice(count, size=wanted, replace=False))
    return np.array([_sample_hash(data, int(position)) for position in chosen], dtype=np.uint64)


def _sample_hash(data: Any, position: int) -> int:
    """Hash of a sample, read with seeded generators, so that random transforms give the same result."""
    seed_everything(0)
    digest = hashlib.blake2b(digest_size=8)
    _feed(digest, _read(data, position))
    return int.from_bytes(digest.digest(), "big")


def _read(data: Any, position: int) -> Any:
    if isinstance(data, tuple):
        return tuple(array[position] for array in data)
    try:
        return data[position]
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"Sample {position} of {type(data).__name__} cannot be read: {error}") from error


def _feed(digest: Any, value: Any) -> None:
    for content in _contents(value):
        digest.update(content)


def _contents(value: Any, depth: int = 0) -> Iterator[bytes]:
    """The content of a nested sample as bytes, equal for equal samples in every process."""
    if isinstance(value, (Tensor, np.ndarray, np.generic)) and not value.shape:
        value = value.item()  # equal to a Python number once it is collated
    if isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype != np.dtype(object)):
        yield f"{tuple(value.shape)}".encode()
        yield _bytes_of(value)
    elif value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        yield repr(value).encode()
    elif depth >= MAX_DEPTH:
        yield type(value).__qualname__.encode()
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield repr(key).encode()
            yield from _contents(item, depth + 1)
    elif isinstance(value, (set, frozenset)):
        yield repr(sorted(map(repr, value))).encode()
    elif isinstance(value, (Sequence, np.ndarray)):
        yield f"[{len(value)}".encode()
        for item in value:
            yield from _contents(item, depth + 1)
    elif hasattr(value, "tobytes"):  # a PIL image
        yield f"{getattr(value, 'size', '')}".encode()
        yield value.tobytes()
    else:
        yield type(value).__qualname__.encode()
        yield from _contents(dict(getattr(value, "__dict__", {})), depth + 1)


def _is_dense(array: Any) -> bool:
    if isinstance(array, Tensor):
        return array.layout is torch.strided and not array.is_quantized and not array.is_nested and array.dim() > 0
    return isinstance(array, np.ndarray) and array.dtype != np.dtype(object)


def _bytes_of(array: Any) -> bytes:
    if isinstance(array, Tensor):
        if array.layout is not torch.strided or array.is_quantized or array.is_nested:
            return repr(array).encode()
        plain = array.detach().cpu().resolve_conj().resolve_neg().contiguous()
        return plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return np.asarray(array).tobytes()
