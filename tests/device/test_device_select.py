"""From what the user typed to a device, and what is said where there is none."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from probe.device import accelerator, cuda, environment
from probe.device.cpu import CpuDevice
from probe.device.protocol import GpuReport
from probe.device.select import (
    VISIBLE_DEVICES,
    DeviceSpec,
    gpu_names,
    open_device,
    parse_device,
    resolve_device,
    visible_gpus,
)
from probe.device.simulated import SimulatedDevice
from probe.errors import DeviceError, UsageError
from probe.system import host_memory
from probe.system.host_memory import free_memory_bytes, total_memory_bytes

GIB = 2**30
no_cuda = pytest.mark.skipif(cuda.find_problem() is None, reason="says what happens without a CUDA device")


@pytest.mark.parametrize(
    ("text", "memory", "expected"),
    [
        ("auto", None, DeviceSpec(kind="auto")),
        ("auto", "8GiB", DeviceSpec(kind="auto", limit_bytes=8 * GIB)),
        ("cpu", None, DeviceSpec(kind="cpu")),
        ("cpu", "1GiB", DeviceSpec(kind="simulated", limit_bytes=GIB)),
        ("CUDA", None, DeviceSpec(kind="cuda")),
        ("xpu", None, DeviceSpec(kind="xpu")),
        ("mps:0", None, DeviceSpec(kind="mps", index=0)),
        ("cuda:3", "24GiB", DeviceSpec(kind="cuda", index=3, limit_bytes=24 * GIB)),
        ("simulated:512MiB", None, DeviceSpec(kind="simulated", limit_bytes=GIB // 2)),
        ("simulated", "1GiB", DeviceSpec(kind="simulated", limit_bytes=GIB)),
    ],
)
def test_forms_of_devices(text: str, memory: str | None, expected: DeviceSpec) -> None:
    assert parse_device(text, memory=memory) == expected


@pytest.mark.parametrize(
    ("text", "memory", "words"),
    [
        ("gpu", None, "'gpu' is not a device.*simulated:SIZE"),
        ("cuda:x", None, "not a device"),
        ("cuda:", None, "not a device"),
        ("cpu:0", None, "not a device"),
        ("simulated", None, "needs a size"),
        ("simulated:big", None, "'big' is not an amount of memory"),
        ("simulated:1GiB", "2GiB", "both set the limit"),
    ],
)
def test_nonsense_is_refused_with_the_forms(text: str, memory: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){words}"):
        parse_device(text, memory=memory)


@pytest.mark.parametrize("text", ["hpu", "npu:0", "xla"])
def test_other_kinds_of_devices_are_refused_with_the_forms(text: str) -> None:
    with pytest.raises(DeviceError, match=rf"'{text}'(?s:.*)xpu:N, mps, mps:N, simulated:SIZE") as caught:
        parse_device(text)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("text", ["xpu", "xpu:3", "mps"])
def test_a_kind_that_pytorch_is_not_built_for_says_so(text: str) -> None:
    kind = text.partition(":")[0].upper()
    with pytest.raises(DeviceError, match=f"no {kind} device here.*built without {kind}"):
        resolve_device(parse_device(text), measuring_memory=False)


def test_the_cpu_under_measurement_gets_a_share_of_the_free_memory() -> None:
    spec = resolve_device(parse_device("cpu"), measuring_memory=True)
    free = free_memory_bytes()
    assert spec.kind == "simulated"
    assert spec.limit_bytes is not None
    assert 0.6 * free < spec.limit_bytes < 0.9 * free
    assert isinstance(open_device(spec, measuring_memory=True), SimulatedDevice)


def test_the_cpu_without_measurement_is_plain() -> None:
    assert isinstance(open_device(parse_device("cpu"), measuring_memory=False), CpuDevice)


def test_a_limit_past_the_free_memory_is_refused_for_the_users_sake() -> None:
    with pytest.raises(DeviceError, match=r"too large for this machine.*\n.*at most"):
        resolve_device(parse_device("simulated:1000TiB"), measuring_memory=True)


def test_a_resolved_device_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = resolve_device(parse_device("simulated:1MiB"), measuring_memory=True)
    monkeypatch.setattr(environment, "free_memory_bytes", lambda: 1000)  # what a child may find once its data is loaded
    assert open_device(pickle.loads(pickle.dumps(spec)), measuring_memory=True).limit_bytes == 2**20


@no_cuda
def test_auto_without_a_gpu_names_the_simulated_device() -> None:
    with pytest.raises(DeviceError, match=r"no GPU to measure.*\n.*--device simulated:SIZE") as caught:
        resolve_device(parse_device("auto"), measuring_memory=True)
    assert caught.value.exit_code == 4
    assert resolve_device(parse_device("auto"), measuring_memory=False).kind == "cpu"


@no_cuda
def test_cuda_without_a_gpu_says_why() -> None:
    with pytest.raises(DeviceError, match=r"There is no CUDA device here: .*(built without CUDA|driver)"):
        resolve_device(parse_device("cuda:1"), measuring_memory=False)


def test_auto_takes_other_gpus_where_there_is_no_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = GpuReport(device="mps:0", name="MPS device", untested="MPS devices")
    monkeypatch.setattr(cuda, "find_problem", lambda kind: "no CUDA.")
    monkeypatch.setattr(accelerator, "find_problem", lambda kind: None if kind == "mps" else "no XPU.")
    monkeypatch.setattr(accelerator, "list_gpus", lambda kind: (gpu,))
    found = DeviceSpec(kind="mps", index=0, resolved=True)
    assert resolve_device(parse_device("auto"), measuring_memory=True) == found
    assert resolve_device(parse_device("mps"), measuring_memory=True) == found
    with pytest.raises(DeviceError, match="no mps:1 here"):
        resolve_device(parse_device("mps:1"), measuring_memory=True)
    with pytest.raises(DeviceError, match=r"mps:0 cannot be limited to 1\.00 GiB"):
        resolve_device(parse_device("auto", memory="1GiB"), measuring_memory=True)


def test_an_index_that_is_not_there_names_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [
        GpuReport(device=f"cuda:{n}", name=f"GPU {n}", total_bytes=1, free_bytes=None, users=(), problem=problem)
        for n, problem in enumerate(["it is too old", None])
    ]
    monkeypatch.setattr(cuda, "find_problem", lambda kind: None)
    monkeypatch.setattr(cuda, "list_gpus", lambda: tuple(gpus))
    with pytest.raises(DeviceError, match=r"no cuda:2 here.\n.*cuda:0 \(GPU 0\), cuda:1 \(GPU 1\)"):
        resolve_device(parse_device("cuda:2"), measuring_memory=True)
    with pytest.raises(DeviceError, match=r"cuda:0 \(GPU 0\) cannot be used: it is too old"):
        resolve_device(parse_device("cuda:0"), measuring_memory=True)
    assert resolve_device(parse_device("auto"), measuring_memory=True) == DeviceSpec(
        kind="cuda", index=1, resolved=True
    )


def test_hidden_gpus_are_said_to_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    assert cuda.find_problem() == "the variable CUDA_VISIBLE_DEVICES hides all GPUs."


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (DeviceSpec(kind="cuda", index=1), "cuda:1"),
        (DeviceSpec(kind="simulated", limit_bytes=GIB), "simulated:1GiB"),
        (DeviceSpec(kind="auto"), "auto"),
    ],
)
def test_a_spec_reads_as_it_is_typed(spec: DeviceSpec, text: str) -> None:
    assert str(spec) == text


def test_free_memory_is_a_part_of_the_total() -> None:
    free, total = free_memory_bytes(), total_memory_bytes()
    assert 0 < free <= total


@pytest.mark.parametrize(
    ("limit", "used", "free"), [("max", "5", None), ("1000", "400", 700), ("1000", "2000", 0), ("9" * 18, "0", None)]
)
def test_a_containers_limit_counts_if_it_is_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, used: str, free: int | None
) -> None:
    machine = SimpleNamespace(total=10_000, available=5_000)
    monkeypatch.setattr(host_memory, "_CGROUP", tmp_path)
    monkeypatch.setattr("psutil.virtual_memory", lambda: machine)
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text(used)
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 100\n")
    assert free_memory_bytes() == (machine.available if free is None else free)
    assert total_memory_bytes() == (machine.total if free is None else 1000)


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


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 6), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((7, 5), ["sm_80", "sm_90"], False),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((8, 0), ["compute_90"], False),
        ((9, 0), ["sm_80", "sm_90a"], True),
        ((9, 1), ["sm_90a"], False),
        ((12, 1), ["sm_120"], True),
        ((9, 4), ["gfx942"], True),
        ((9, 0), [], True),
    ],
)
def test_kernels_run_on_gpus_of_their_architecture(
    capability: tuple[int, int], architectures: list[str], runs: bool
) -> None:
    from probe.device.cuda import kernel_problem

    problem = kernel_problem(capability, architectures)
    assert (problem is None) == runs
    assert problem is None or f"{capability[0]}.{capability[1]}" in problem
