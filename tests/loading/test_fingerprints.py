"""Parts of every shape that people give: which samples they share, and by what they are recognized."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from made_tasks import Words, made_task, small_net
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

import probe
from probe.errors import DataError
from probe.loading.fingerprints import fingerprint, fingerprints
from probe.training.building import check_splits

generator = torch.Generator().manual_seed(0)
INPUTS = torch.randn(100, 6, generator=generator)
TARGETS = (INPUTS[:, 0] > 0).long()
WHOLE = TensorDataset(INPUTS, TARGETS)


class Rows(Dataset[Any]):
    """A data set of the user's own, which has to be read."""

    def __init__(self, first: int, last: int, noise: float = 0.0) -> None:
        self.rows = range(first, last)
        self.noise = noise

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        row = self.rows[index]
        return INPUTS[row] + self.noise * torch.randn(6), int(TARGETS[row])


class Wrapped(Dataset[Any]):
    """Transforms the samples of another one."""

    def __init__(self, subset: Any) -> None:
        self.subset = subset

    def __len__(self) -> int:
        return len(self.subset)

    def __getitem__(self, index: int) -> Any:
        inputs, target = self.subset[index]
        return inputs + 1, target


class Varying(Rows):
    """Draws from the operating system: no seed makes it repeat itself."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(np.random.default_rng().standard_normal(6)), 0


def tensors(first: int, last: int) -> Any:
    return INPUTS[first:last], TARGETS[first:last]


def copies(first: int, last: int) -> Any:
    return INPUTS[first:last].clone(), TARGETS[first:last].clone()


def arrays(first: int, last: int) -> Any:
    return INPUTS.numpy()[first:last], TARGETS.numpy()[first:last]


def data_set(first: int, last: int) -> Any:
    return TensorDataset(*copies(first, last))


def subset(first: int, last: int) -> Any:
    return Subset(WHOLE, range(first, last))


def nested(first: int, last: int) -> Any:
    return Subset(Subset(WHOLE, range(last)), list(range(first, last)))


def joined(first: int, last: int) -> Any:
    middle = (first + last) // 2
    return ConcatDataset([Subset(WHOLE, range(first, middle)), Subset(WHOLE, range(middle, last))])


def wrapped(first: int, last: int) -> Any:
    return Wrapped(Subset(WHOLE, range(first, last)))


def read(first: int, last: int) -> Any:
    return Rows(first, last)


def augmented(first: int, last: int) -> Any:
    return Rows(first, last, noise=0.1)


SHAPES = (tensors, copies, data_set, subset, nested, joined, wrapped, read, augmented)


def task(train: Any, val: Any, test: Any = None) -> probe.Task:
    return probe.Task(model=small_net, train=train, val=val, test=test)


@pytest.mark.parametrize("shape", SHAPES)
def test_parts_of_their_own_share_nothing(shape: Callable[[int, int], Any]) -> None:
    assert check_splits(task(shape(0, 60), shape(60, 80), shape(80, 100))) == ()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_validation_part_once_more_is_no_test_part(shape: Callable[[int, int], Any]) -> None:
    with pytest.raises(DataError, match=r"test and validation splits .*20 of 20 test samples"):
        check_splits(task(shape(0, 60), shape(60, 80), shape(60, 80)))


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape is not augmented])
def test_a_piece_of_the_training_part_is_no_test_part(shape: Callable[[int, int], Any]) -> None:
    with pytest.raises(DataError, match=r"test and training splits .*20 of 20 test samples"):
        check_splits(task(shape(0, 60), shape(60, 80), shape(30, 50)))


@pytest.mark.parametrize(("one", "other"), [(tensors, arrays), (tensors, subset), (subset, wrapped), (copies, read)])
def test_parts_of_different_shape_are_compared(one: Callable[..., Any], other: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="20 of 20 test samples"):
        check_splits(task(one(0, 60), one(60, 80), other(60, 80)))


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape is not augmented])
def test_a_few_shared_samples_are_counted(shape: Callable[[int, int], Any]) -> None:
    [overlap] = check_splits(task(shape(0, 60), shape(60, 80), shape(79, 100)))
    assert (overlap.first, overlap.second, overlap.num_shared) == ("val", "test", 1)


def test_duplicates_are_counted() -> None:
    inputs = torch.cat([INPUTS[80:], INPUTS[:3]])
    [overlap] = check_splits(task(tensors(0, 60), tensors(60, 80), (inputs, torch.cat([TARGETS[80:], TARGETS[:3]]))))
    assert (overlap.first, overlap.second, overlap.kind, overlap.num_shared) == ("train", "test", "equal", 3)


def test_whole_numbers_as_doubles_are_told_apart() -> None:
    # Their low bits are zero: a plain sum of products would keep a few bits of them only.
    numbers = torch.arange(4000, dtype=torch.float64).reshape(-1, 2)
    halves = (numbers[:1000], torch.zeros(1000)), (numbers[1000:].clone(), torch.zeros(1000))
    assert check_splits(task(*halves)) == ()


def test_the_caller_draws_on_as_if_nobody_had_looked() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_splits(task(augmented(0, 60), augmented(60, 80)))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("shape", [*SHAPES, arrays])
def test_a_fingerprint_is_of_the_samples_and_their_order(shape: Callable[[int, int], Any]) -> None:
    found = fingerprint(shape(0, 60))
    assert found == fingerprint(shape(0, 60))
    assert found != fingerprint(shape(0, 61))
    assert found != fingerprint(shape(1, 61))


def test_a_fingerprint_sees_another_split_and_another_value() -> None:
    order = torch.randperm(100).tolist()
    assert fingerprint(Subset(WHOLE, order)) != fingerprint(Subset(WHOLE, sorted(order)))
    changed = INPUTS.clone()
    changed[41, 2] += 1e-3
    assert fingerprint((changed, TARGETS)) != fingerprint((INPUTS, TARGETS))


def test_a_fingerprint_of_large_parts_is_of_some_rows() -> None:
    large = torch.zeros(3000, 200)
    changed = large.clone()
    changed[-1] = 1
    assert fingerprint((large,)) != fingerprint((changed,))


def test_samples_that_no_seed_repeats_are_recognized_by_their_places() -> None:
    assert fingerprint(Varying(0, 40)) == fingerprint(Varying(0, 40))
    assert fingerprint(Varying(0, 40)) != fingerprint(Varying(0, 41))
    assert check_splits(task(Varying(0, 40), Varying(0, 40))) == ()


def test_samples_of_any_nesting_have_a_fingerprint() -> None:
    samples = [{"text": "ab", "ids": [1, 2], "box": np.zeros(4), "more": (None, 1.5, {"a"}), "set": INPUTS[0]}] * 3
    other = [{**samples[0], "ids": [1, 3]}] * 3
    assert fingerprint(samples) != fingerprint(other)
    assert set(fingerprints(made_task())) == {"train", "val"}
    assert len(fingerprint(Words())) == 16


def test_a_sample_that_cannot_be_read_is_named() -> None:
    class Broken(Rows):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            raise OSError("no such file")

    with pytest.raises(DataError, match="Sample 0 of Broken cannot be read: no such file"):
        fingerprint(Broken(0, 3))
