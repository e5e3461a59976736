"""From what the user typed to a device, and what is said where there is none."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

from probe.device import cuda, memory
from probe.device.cpu import CpuDevice
from probe.device.memory import free_memory_bytes, total_memory_bytes
from probe.device.select import DeviceSpec, open_device, parse_device, resolve_device
from probe.device.simulated import SimulatedDevice
from probe.errors import DeviceError, UsageError

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


@pytest.mark.parametrize("text", ["mps", "xpu", "xpu:0"])
def test_other_accelerators_get_one_clear_sentence(text: str) -> None:
    with pytest.raises(DeviceError) as caught:
        parse_device(text)
    assert caught.value.message == f"'{text}': probe measures CUDA devices and the CPU only."


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
    monkeypatch.setattr(memory, "free_memory_bytes", lambda: 1000)  # what a child may find once its data is loaded
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


def test_an_index_that_is_not_there_names_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "find_problem", lambda: None)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda index: f"GPU {index}")
    with pytest.raises(DeviceError, match=r"no cuda:2 here.\n.*cuda:0 \(GPU 0\), cuda:1 \(GPU 1\)"):
        resolve_device(parse_device("cuda:2"), measuring_memory=True)
    assert resolve_device(parse_device("auto"), measuring_memory=True) == DeviceSpec(
        kind="cuda", index=0, resolved=True
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
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr("psutil.virtual_memory", lambda: machine)
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text(used)
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 100\n")
    assert free_memory_bytes() == (machine.available if free is None else free)
    assert total_memory_bytes() == (machine.total if free is None else 1000)
