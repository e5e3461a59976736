from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from probe.device.select import DeviceSpec
from probe.device.visible import VISIBLE_DEVICES, gpu_names, visible_gpus

FOUND = DeviceSpec(kind="cuda", index=0, resolved=True)


@pytest.mark.parametrize(
    ("visible", "num_gpus", "names"),
    [
        (None, 3, ("0", "1", "2")),
        (None, 0, ()),
        ("2,5", 2, ("2", "5")),
        (" GPU-8f2c , GPU-11ab", 2, ("GPU-8f2c", "GPU-11ab")),
        ("1,0,-1,2", 2, ("1", "0")),  # CUDA stops at -1
        ("0,99", 1, ("0",)),
        ("MIG-41c1,MIG-7d2e", 1, ("MIG-41c1", "MIG-7d2e")),  # a process sees one slice only
        ("MIG-41c1,GPU-8f2c", 1, ("MIG-41c1",)),
        ("MIG-41c1", 0, ()),
        ("", 0, ()),
        ("-1", 0, ()),
    ],
)
def test_each_gpu_has_the_name_that_shows_it_alone(visible: str | None, num_gpus: int, names: tuple[str, ...]) -> None:
    assert gpu_names(visible, num_gpus) == names


@given(st.lists(st.integers(0, 15), min_size=1, unique=True), st.data())
def test_what_the_user_made_visible_is_neither_left_nor_counted_anew(indices: list[int], data: st.DataObject) -> None:
    num_gpus = data.draw(st.integers(0, len(indices)))
    names = gpu_names(",".join(map(str, indices)), num_gpus)
    assert [int(name) for name in names] == indices[:num_gpus]


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.delenv(VISIBLE_DEVICES, raising=False)


@pytest.mark.usefixtures("three_gpus")
def test_cuda_and_auto_mean_all_gpus_and_cuda_n_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    auto, cuda, second = DeviceSpec(kind="auto"), DeviceSpec(kind="cuda"), DeviceSpec(kind="cuda", index=1)
    assert visible_gpus(auto, FOUND) == visible_gpus(cuda, FOUND) == ("0", "1", "2")
    assert visible_gpus(second, DeviceSpec(kind="cuda", index=1, resolved=True)) == ()
    assert visible_gpus(FOUND, FOUND) == ()  # resolved by the caller, who had them all to choose from
    monkeypatch.setenv(VISIBLE_DEVICES, "GPU-a,GPU-b,GPU-c")
    assert visible_gpus(cuda, FOUND) == ("GPU-a", "GPU-b", "GPU-c")


@pytest.mark.usefixtures("three_gpus")
def test_there_is_nothing_to_choose_among_one_gpu_none_or_amds(monkeypatch: pytest.MonkeyPatch) -> None:
    auto = DeviceSpec(kind="auto")
    assert visible_gpus(auto, DeviceSpec(kind="cpu", resolved=True)) == ()
    with monkeypatch.context() as patched:
        patched.setattr(torch.version, "hip", "6.4")
        assert visible_gpus(auto, FOUND) == ()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert visible_gpus(auto, FOUND) == ()
