"""What the parts of a task's data are made of: where each sample lies, what it holds, and a fingerprint of the whole.

Nothing here copies a data set. Samples of tensors are hashed where they lie; of other data sets only some are read.
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
from probe.loading.overlap import Part
from probe.loading.random_state import seed_everything
from probe.task import Task

PARTS = ("train", "val", "test")
MAX_HASHED_BYTES = 256 * 2**20
"""Parts of tensors are compared row by row up to this size."""
MAX_READ_BYTES, MAX_READ_SAMPLES = 32 * 2**20, 500
"""Of a data set that has to be read sample by sample, so much is read to compare it with another part."""
MAX_PRINTED_BYTES, NUM_PRINTED_ROWS, NUM_PRINTED_SAMPLES = 2**20, 256, 16
"""A fingerprint is of all rows up to so many bytes, else of so many rows, or of so many samples that have to be read."""
MAX_DEPTH = 16

Positions = np.ndarray[Any, np.dtype[np.int64]]
Hashes = np.ndarray[Any, np.dtype[np.uint64]]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Samples of one data set, at these positions in it."""

    base: Any
    """A tuple of arrays of equal length, or a map-style data set."""
    positions: Positions

    @property
    def is_arrays(self) -> bool:
        """Its samples are rows of dense arrays, which need not be read one by one."""
        return isinstance(self.base, tuple) and all(map(_is_dense, self.base))


def pieces_of(data: Any) -> list[Piece]:
    """`data` without what only selects from other data sets: subsets and concatenations."""
    if isinstance(data, tuple):
        return [Piece(data, np.arange(len(data[0])))]
    if isinstance(data, TensorDataset):
        return pieces_of(tuple(data.tensors))
    if isinstance(data, Subset):
        return _selected(pieces_of(data.dataset), np.asarray(data.indices, dtype=np.int64))
    if isinstance(data, ConcatDataset):
        return [piece for inner in data.datasets for piece in pieces_of(inner)]
    return [Piece(data, np.arange(len(data)))]


def look_at(task: Task) -> dict[str, Part]:
    """Each part, as `find_overlaps` compares them. Raises DataError for a sample that cannot be read."""
    found = _parts_of(task)
    pieces = {name: pieces_of(data) for name, data in found.items()}
    every = [piece for of_part in pieces.values() for piece in of_part]
    by_rows = all(piece.is_arrays for piece in every) and sum(map(_num_bytes, every)) <= MAX_HASHED_BYTES
    return {
        name: Part(
            num_samples=len(data[0]) if isinstance(data, tuple) else len(data),
            places=_places(pieces[name]),
            rows=_row_hashes(pieces[name]) if by_rows else _sample_hashes(data),
        )
        for name, data in found.items()
    }


def fingerprints(task: Task) -> dict[str, str]:
    """One for each part: equal for equal samples in an equal order, on every machine."""
    return {name: fingerprint(data) for name, data in _parts_of(task).items()}


def fingerprint(data: Any) -> str:
    """Of a part's size, of which samples of its data sets it is made, and of some of the samples themselves.

    Samples that read differently each time, even from seeded generators, count by their places alone.
    """
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


def _parts_of(task: Task) -> dict[str, Any]:
    """Those that the task has and that have an end: samples that are made as they are asked for belong to no part."""
    found = {name: getattr(task, name) for name in PARTS}
    return {name: data for name, data in found.items() if data is not None and not is_unbounded(data)}


def _selected(pieces: Sequence[Piece], indices: Positions) -> list[Piece]:
    """Those of the pieces' samples, counted through all of them, in the order of `indices` within each piece."""
    found, first = [], 0
    for piece in pieces:
        inside = indices[(indices >= first) & (indices < first + len(piece.positions))]
        found.append(Piece(piece.base, piece.positions[inside - first]))
        first += len(piece.positions)
    return found


def _num_bytes(piece: Piece) -> int:
    return len(piece.positions) * sum(array[:1].nbytes for array in piece.base) if piece.is_arrays else 0


def _places(pieces: Sequence[Piece]) -> dict[str, Positions]:
    """Where the samples lie: addresses of the first array's rows, or positions in a data set by its identity. A data set that
    wraps another one of its length, to transform its samples, has the places of that one."""
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
    """Arrays that share memory share their rows' addresses, whether they are PyTorch's or NumPy's."""
    if isinstance(array, Tensor) and array.stride(0):
        return str(array.device), array.data_ptr() + positions * (array.stride(0) * array.element_size())
    if isinstance(array, np.ndarray) and array.strides[0]:
        return "cpu", array.__array_interface__["data"][0] + positions * array.strides[0]
    return str(id(array)), positions


def _row_hashes(pieces: Sequence[Piece]) -> Hashes:
    """64 bits of each sample of arrays: the sum of its eight-byte words, each mixed with its place in the sample."""
    found = []
    for piece in pieces:
        total = np.zeros(len(piece.positions), dtype=np.uint64)
        for number, array in enumerate(piece.base):
            words = _words(_rows(array, piece.positions))
            salts = np.random.default_rng(number).integers(0, 2**64, size=words.shape[1], dtype=np.uint64)
            for column, salt in enumerate(salts):  # word by word: the whole at once would need several times its memory
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
    """Shape (rows, eight-byte words of each), the last word filled up with zeros."""
    flat = np.frombuffer(_bytes_of(rows), dtype=np.uint8).reshape(len(rows), -1)
    padded = np.pad(flat, ((0, 0), (0, -flat.shape[1] % 8)))
    return np.ascontiguousarray(padded).view(np.uint64)


def _rows(array: Any, positions: Positions) -> Any:
    return array[torch.from_numpy(positions)] if isinstance(array, Tensor) else array[positions]


def _sample_hashes(data: Any) -> Hashes:
    """Of some samples, read one by one: the same positions in parts of equal length."""
    count = len(data[0]) if isinstance(data, tuple) else len(data)
    size = max(1, sum(len(part) for part in _contents(_read(data, 0))))
    wanted = min(count, MAX_READ_SAMPLES, max(1, MAX_READ_BYTES // size))
    chosen = np.sort(np.random.default_rng(0).choice(count, size=wanted, replace=False))
    return np.array([_sample_hash(data, int(position)) for position in chosen], dtype=np.uint64)


def _sample_hash(data: Any, position: int) -> int:
    """From seeded generators, so that random transforms of equal samples are equal."""
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
    """What a sample holds, as bytes, through any nesting: equal for equal samples in every process."""
    if isinstance(value, (Tensor, np.ndarray, np.generic)) and not value.shape:
        value = value.item()  # a number is one, whatever holds it: collated they are the same
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
