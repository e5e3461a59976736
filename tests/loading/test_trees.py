"""Batches are joined along their samples where nothing changes by it, and taken apart where they can be."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from probe.errors import TaskError
from probe.loading.trees import join_batches, split_batches

Pair = namedtuple("Pair", ["left", "right"])


@dataclass(frozen=True)
class Output:
    logits: Tensor
    extra: Any


def rows(start: int, size: int, *shape: int) -> Tensor:
    """Rows that are filled with their numbers."""
    return torch.arange(start, start + size).view(-1, *[1] * len(shape)).expand(size, *shape).clone()


KINDS: dict[str, Any] = {
    "tensor": lambda start, size: rows(start, size, 2),
    "tuple": lambda start, size: (rows(start, size, 2), rows(start, size)),
    "list of outputs": lambda start, size: [rows(start, size, 2), rows(start, size), rows(start, size)],
    "named tuple": lambda start, size: Pair(rows(start, size), None),
    "dictionary": lambda start, size: OrderedDict(a=rows(start, size), b={"c": rows(start, size, 3)}),
    "dataclass": lambda start, size: Output(rows(start, size), "same"),
}
SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def starts(sizes: list[int]) -> list[int]:
    return [sum(sizes[:number]) for number in range(len(sizes))]


def numbers_of(tree: Any) -> list[int]:
    """The first number of every tensor of one sample."""
    if isinstance(tree, Tensor):
        return [int(tree.flatten()[0])]
    items = tree.values() if isinstance(tree, dict) else vars(tree).values() if isinstance(tree, Output) else tree
    return [number for item in items if item is not None and item != "same" for number in numbers_of(item)]


@pytest.mark.parametrize("kind", KINDS)
@given(SIZES)
def test_joined_or_split_every_sample_is_there_once_in_order(kind: str, sizes: list[int]) -> None:
    trees = [KINDS[kind](start, size) for start, size in zip(starts(sizes), sizes, strict=True)]
    whole, samples = join_batches(trees, sizes), split_batches(trees, sizes, "outputs")
    assert type(whole) is type(trees[0])
    assert len(samples) == sum(sizes)
    expected = KINDS[kind](0, sum(sizes))
    assert repr(whole) == repr(expected)
    assert all(set(numbers_of(sample)) == {number} for number, sample in enumerate(samples))
    assert all(type(sample) is type(trees[0]) for sample in samples)


@given(SIZES)
def test_lists_of_samples_are_one_list(sizes: list[int]) -> None:
    """As many boxes as they like, also by chance as many as there are images."""
    trees = [
        [{"boxes": torch.full((number % 3, 4), number)} for number in range(start, start + size)]
        for start, size in zip(starts(sizes), sizes, strict=True)
    ]
    for samples in (join_batches(trees, sizes), split_batches(trees, sizes, "outputs")):
        assert len(samples) == sum(sizes)
        assert [len(sample["boxes"]) for sample in samples] == [number % 3 for number in range(sum(sizes))]


def test_padded_batches_are_split_and_not_joined() -> None:
    trees = [{"logits": rows(0, 3, 2, 5), "mask": rows(0, 3, 5)}, {"logits": rows(3, 1, 2, 4), "mask": rows(3, 1, 4)}]
    with pytest.raises(ValueError, match="one shape"):
        join_batches(trees, [3, 1])
    samples = split_batches(trees, [3, 1], "outputs")
    assert [tuple(sample["logits"].shape) for sample in samples] == [(2, 5)] * 3 + [(2, 4)]
    assert [int(sample["mask"][0]) for sample in samples] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("trees", "words"),
    [
        ([torch.tensor(0.5)] * 2, r"outputs is a tensor of shape \(\) for a batch of 4"),
        (
            [{"loss": torch.tensor(0.5), "logits": torch.zeros(4, 2)}] * 2,
            r"outputs\['loss'\] is a tensor of shape \(\)",
        ),
        ([torch.zeros(4, 2), torch.zeros(8, 2)], r"outputs is a tensor of shape \(8, 2\)"),
        ([[torch.zeros(2)] * 4, [torch.zeros(2)] * 3], r"outputs is a list of 3 for a batch of 4"),
        ([object()] * 2, "outputs is a object"),
        (
            [(torch.zeros(4), {"nodes": torch.zeros(9, 2)})] * 2,
            r"outputs\[1\]\['nodes'\] is a tensor of shape \(9, 2\)",
        ),
        ([torch.zeros(4), [1, 2, 3, 4]], "outputs is a"),
    ],
)
def test_samples_that_cannot_be_told_apart_are_named(trees: list[Any], words: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - why is said by the split
        join_batches(trees, [4, 4])
    with pytest.raises(TaskError, match=words):
        split_batches(trees, [4, 4], "outputs")
