"""Tasks are built from seeded generators, once for what has not changed, and their data are recognized."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_tasks import made_data, made_task
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset, random_split

import probe
from probe.errors import ChangedDataError
from probe.loading.fingerprints import fingerprints
from probe.loading.random_state import seed_everything
from probe.loading.records import DataReference
from probe.tasks.given import GivenSource
from probe.tasks.source import TargetSource
from probe.training import building
from probe.training.building import build_task, data_reference, load_keywords
from probe.workers.child import messages_to

built: list[dict[str, Any]] = []
"""By every source of this module, in their order."""
clock = 0
"""What a careless task seeds by."""


class Silent:
    def send(self, kind: str, value: Any) -> None:
        raise AssertionError("nothing is sent")


@dataclass(frozen=True)
class Source:
    """A task function in this process."""

    kind: str
    seed: int = 1
    title: str = field(default="made", compare=False)

    def keywords(self) -> None:
        return None

    def build(self, params: Any) -> probe.Task:
        built.append(dict(params))
        return made_task(**KINDS[self.kind](int(params.get("size", 0))))


class Jittered(Dataset[Any]):
    """Samples with noise from a generator of its own, which goes on from read to read."""

    def __init__(self) -> None:
        self.inputs, self.targets = made_data()
        self.generator = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index] + self.generator.normal(), int(self.targets[index])


def by_torch(size: int) -> dict[str, Any]:
    train, val = random_split(TensorDataset(*made_data()), [100, 20])
    return {"train": train, "val": val}


def by_numpy(size: int) -> dict[str, Any]:
    order = np.random.permutation(120)  # noqa: NPY002 - as users do
    inputs, targets = made_data()
    return {"train": (inputs[order[:100]], targets[order[:100]]), "val": (inputs[order[100:]], targets[order[100:]])}


def by_python(size: int) -> dict[str, Any]:
    order = list(range(120))
    random.shuffle(order)
    inputs, targets = made_data()
    return {"train": (inputs[order], targets[order])}


def by_clock(size: int) -> dict[str, Any]:
    return {"train": made_data(seed=clock)}


def advancing(size: int) -> dict[str, Any]:
    global clock
    clock += 1
    return by_clock(size)


def in_doubles(size: int) -> dict[str, Any]:
    torch.set_default_dtype(torch.float64)
    return {"train": made_data(50 + size)}


def in_doubles_of_two(size: int) -> dict[str, Any]:
    return in_doubles(size) if size == 2 else {"train": made_data(50 + size)}


def by_size(size: int) -> dict[str, Any]:
    return {"train": made_data(50 + size)}


KINDS: dict[str, Any] = {
    "torch": by_torch,
    "numpy": by_numpy,
    "python": by_python,
    "clock": by_clock,
    "advancing": advancing,
    "size": by_size,
    "doubles": in_doubles,
    "doubles_of_two": in_doubles_of_two,
    "jittered": lambda size: {"train": Jittered()},
}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    built.clear()
    yield
    building._kept = building._checked = None


@pytest.fixture
def in_worker() -> Iterator[None]:
    with messages_to(Silent()):
        yield


@pytest.mark.parametrize("kind", ["torch", "numpy", "python"])
def test_a_split_without_a_generator_is_the_sources_seeds(kind: str) -> None:
    first = fingerprints(build_task(Source(kind), {}))
    torch.rand(7), np.random.rand(7), random.random()  # noqa: NPY002 - whatever ran before
    assert fingerprints(build_task(Source(kind), {})) == first
    assert fingerprints(build_task(Source(kind, seed=2), {})) != first


def test_the_callers_generators_are_left_as_they_were() -> None:
    def draws() -> tuple[float, float, float]:
        return torch.rand(()).item(), float(np.random.rand()), random.random()  # noqa: NPY002

    seed_everything(3)
    expected = draws()
    seed_everything(3)
    build_task(Source("torch"), {})
    assert draws() == expected


def test_what_a_module_draws_when_it_is_imported_is_the_same_in_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import torch, probe\nDATA = torch.rand(9, 6), torch.zeros(9)\nORDER = torch.randperm\n"
    code += "def task():\n    order = torch.randperm(9)\n"
    code += "    return probe.Task(model=lambda: None, train=tuple(part[order] for part in DATA))\n"
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for number, imports_first in enumerate((True, False)):
        (tmp_path / f"drawing_{number}.py").write_text(code)
        torch.manual_seed(number)
        source = TargetSource(target=f"drawing_{number}:task")
        if imports_first:
            assert load_keywords(source) == ()
        found.append([fingerprints(build_task(source, {})) for _ in range(2)])
    assert found[0] == found[1]
    assert found[0][0] == found[0][1]


def test_a_worker_builds_once_what_has_not_changed(in_worker: None) -> None:
    first = build_task(Source("size"), {"size": 1, "lr": 0.1})
    assert (
        build_task(Source("size"), {"size": 1, "lr": 0.2, "batch_size": 8}) is first
    )  # the trainer's are no part of it
    assert build_task(Source("size"), {"size": True}) is not first
    build_task(Source("size"), {"size": 1})
    build_task(Source("size", seed=2), {"size": 1})
    assert built == [{"size": 1}, {"size": True}, {"size": 1}, {"size": 1}]


def test_a_task_that_is_used_again_finds_what_its_code_had_set(in_worker: None) -> None:
    try:
        first = build_task(Source("doubles"), {"size": 1})
        torch.set_default_dtype(torch.float32)  # as it is put back after each call
        assert build_task(Source("doubles"), {"size": 1}) is first
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_reference_that_is_built_again_leaves_no_settings(in_worker: None) -> None:
    reference = DataReference(params={"size": 2}, fingerprints=fingerprints(Source("doubles").build({"size": 2})))
    torch.set_default_dtype(torch.float32)
    try:
        build_task(Source("doubles_of_two"), {"size": 1}, reference)
        assert torch.get_default_dtype() is torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_nothing_is_kept_in_the_callers_process() -> None:
    assert build_task(Source("size"), {}) is not build_task(Source("size"), {})


def test_a_task_that_was_given_is_itself_and_not_kept(in_worker: None) -> None:
    task = made_task()
    assert build_task(GivenSource(task=task), {}) is task
    assert building._kept is None


def test_data_that_draw_from_a_generator_of_their_own_are_built_anew(in_worker: None) -> None:
    first = build_task(Source("jittered"), {})
    second = build_task(Source("jittered"), {})
    assert first is not second
    assert torch.equal(first.train[0][0], second.train[0][0])


@pytest.mark.parametrize("kind", ["torch", "size"])
def test_data_are_recognized(kind: str, in_worker: None) -> None:
    reference = data_reference(Source(kind), {"size": 3})
    assert len(built) == 2
    assert build_task(Source(kind), {"size": 3}, reference) is build_task(Source(kind), {"size": 3})
    assert len(built) == 2  # kept since it was looked at
    for size in (4, 5):
        build_task(Source(kind), {"size": size}, reference)
    # Where the data depend on hyperparameters, the reference is built once more in each process, and once only.
    assert [one["size"] for one in built[2:]] == ([4, 3, 5] if kind == "size" else [4, 5])


def test_data_that_differ_from_build_to_build_are_named() -> None:
    with pytest.raises(ChangedDataError, match=r"training .*changed from one build") as raised:
        data_reference(Source("advancing"), {})
    assert "manual_seed" in (raised.value.hint or "")
    assert raised.value.exit_code == 3


@pytest.mark.parametrize("size", [0, 1])
def test_data_that_change_later_are_noticed(size: int) -> None:
    global clock
    clock = 0
    reference = data_reference(Source("clock"), {"size": 0})
    build_task(Source("clock"), {"size": size}, reference)
    clock = 1
    with pytest.raises(ChangedDataError, match=r"training .*changed since"):
        build_task(Source("clock"), {"size": size}, reference)
