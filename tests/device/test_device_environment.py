"""What is said about this machine; NVML where it is not, and where it fails half-way."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from probe.device import cuda, environment, nvml
from probe.device.cuda import measured_context_bytes
from probe.device.environment import collect_meta, describe_environment, peak_resident_bytes, reset_peak_resident
from probe.device.select import list_gpus
from probe.records import DeviceMemory, MemoryUser, RunOrigin
from probe.records_json import to_plain

NO_PROCESS = 2**22 + 1
"""Above the largest process id of Linux."""


class FakeNvml(SimpleNamespace):
    """NVML with two GPUs in its own order, a slice of the first, and a count of how often it was shut down."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, fails_at: str | None = None) -> None:
        uuids = {b"GPU-aaaa": "first", b"GPU-bbbb": "second", b"MIG-cccc": "slice"}
        super().__init__(num_shutdowns=0, fails_at=fails_at, uuids=uuids)

    def _maybe_fail(self, name: str) -> None:
        if name == self.fails_at:
            raise self.NVMLError(f"{name} failed")

    def nvmlInit(self) -> None:  # noqa: N802  # NVML's name
        self._maybe_fail("nvmlInit")

    def nvmlShutdown(self) -> None:  # noqa: N802  # NVML's name
        self.num_shutdowns += 1

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes) -> str:  # noqa: N802  # NVML's name
        self._maybe_fail("nvmlDeviceGetHandleByUUID")
        if uuid not in self.uuids:
            raise self.NVMLError("Not Found")
        return str(self.uuids[uuid])

    def nvmlDeviceGetHandleByPciBusId(self, address: bytes) -> str:  # noqa: N802  # NVML's name
        return {b"00000000:65:00.0": "second", b"00000000:17:00.0": "first"}[address]

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:  # noqa: N802  # NVML's name
        self._maybe_fail("nvmlDeviceGetMemoryInfo")
        total, free = {"first": (1000, 900), "second": (1000, 973), "slice": (500, 490)}[handle]
        return SimpleNamespace(total=total, free=free, used=total - free)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802  # NVML's name
        self._maybe_fail("nvmlDeviceGetComputeRunningProcesses")
        own = SimpleNamespace(pid=os.getpid(), usedGpuMemory=5)
        return [own, SimpleNamespace(pid=2, usedGpuMemory=2**30), SimpleNamespace(pid=NO_PROCESS, usedGpuMemory=None)]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802  # NVML's name
        return [SimpleNamespace(pid=2, usedGpuMemory=2**30), SimpleNamespace(pid=3, usedGpuMemory=7)]

    def nvmlSystemGetProcessName(self, pid: int) -> str | bytes:  # noqa: N802  # NVML's name
        names: dict[int, str | bytes] = {2: "/usr/bin/python3", 3: rb"C:\Games\game.exe"}
        if pid not in names:
            raise self.NVMLError("not yours to know")
        return names[pid]


SECOND_GPU = SimpleNamespace(uuid="bbbb", total_memory=980, pci_domain_id=0, pci_bus_id=0x65, pci_device_id=0)
"""Its driver keeps 20 of 1000 bytes for itself: NVML counts them as used, CUDA does not offer them."""
SLICE = SimpleNamespace(uuid="cccc", total_memory=495, pci_domain_id=0, pci_bus_id=0x17, pci_device_id=0)


def install(monkeypatch: pytest.MonkeyPatch, fake: FakeNvml) -> FakeNvml:
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def test_a_gpu_is_found_by_identity_not_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(monkeypatch, FakeNvml())
    assert nvml.used_bytes(SECOND_GPU) == 7
    assert fake.num_shutdowns == 1


def test_without_uuids_the_pci_address_identifies(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeNvml(fails_at="nvmlDeviceGetHandleByUUID"))
    assert nvml.used_bytes(SECOND_GPU) == 7


def test_a_failing_query_means_unknown_and_nvml_is_shut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(monkeypatch, FakeNvml(fails_at="nvmlDeviceGetMemoryInfo"))
    assert nvml.used_bytes(SECOND_GPU) is None
    assert fake.num_shutdowns == 1


def test_other_processes_are_named_and_this_one_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeNvml())
    assert nvml.memory_users(SECOND_GPU) == (
        MemoryUser(pid=2, name="python3", used_bytes=2**30),
        MemoryUser(pid=3, name="game.exe", used_bytes=7),
        MemoryUser(pid=NO_PROCESS, name=None, used_bytes=None),
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_where_nvml_knows_no_name_the_system_does() -> None:
    name = nvml._process_name(FakeNvml(), os.getpid())
    assert name == Path("/proc/self/comm").read_text().strip()


def test_a_slice_of_a_gpu_is_found_by_its_own_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeNvml())
    assert nvml.used_bytes(SLICE) == 5


@pytest.mark.parametrize("uuid", ["aaaa", "unknown"])
def test_the_whole_gpus_numbers_are_not_taken_for_a_slices(monkeypatch: pytest.MonkeyPatch, uuid: str) -> None:
    fake = install(monkeypatch, FakeNvml())
    asked = SimpleNamespace(**vars(SLICE) | {"uuid": uuid})
    assert nvml.used_bytes(asked) is None
    assert nvml.memory_users(asked) == ()
    assert fake.num_shutdowns == 2


@pytest.mark.parametrize(
    ("before", "after", "reserved", "expected"),
    [(100, 160, 10, 50), (100, 110, 10, None), (100, 60, 10, None), (None, 60, 10, None), (100, None, 10, None)],
)
def test_a_context_is_what_came_with_it(
    before: int | None, after: int | None, reserved: int, expected: int | None
) -> None:
    assert measured_context_bytes(before, after, reserved) == expected


def test_what_nvml_does_not_list_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeNvml(fails_at="nvmlDeviceGetComputeRunningProcesses"))
    assert [user.pid for user in nvml.memory_users(SECOND_GPU)] == [2, 3]
    install(monkeypatch, FakeNvml(fails_at="nvmlInit"))
    assert nvml.memory_users(SECOND_GPU) == ()


@pytest.mark.parametrize(
    ("others", "emulated", "offered"),
    [(0, None, 1000), (300, None, 700), (0, 400, 400), (300, 400, 400), (800, 400, 200)],
)
def test_what_others_hold_is_subtracted(others: int, emulated: int | None, offered: int) -> None:
    memory = DeviceMemory(
        total_bytes=1000,
        others_bytes=others,
        others=(),
        context_bytes=10,
        context_is_measured=True,
        emulated_bytes=emulated,
        is_integrated=False,
    )
    assert memory.offered_bytes == offered


def test_the_peak_of_resident_memory_is_that_since_the_reset() -> None:
    reset_peak_resident()
    before = peak_resident_bytes()
    if before is None:
        pytest.skip("this system does not say how much a process holds")
    held = torch.ones(64 * 2**20)  # 256 MiB
    during = peak_resident_bytes() or 0
    del held
    reset_peak_resident()
    after = peak_resident_bytes() or 0
    assert during - before > 200 * 2**20
    assert sys.platform != "linux" or during - after > 200 * 2**20


def test_without_a_driver_nvml_says_so_and_needs_no_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(monkeypatch, FakeNvml(fails_at="nvmlInit"))
    assert nvml.nvml_problem() == "NVML says: nvmlInit failed"
    assert nvml.driver_version() is None
    assert fake.num_shutdowns == 0


def test_without_the_package_nvml_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # how Python marks an absent module
    assert nvml.nvml_problem() == "the package nvidia-ml-py is not installed"
    assert nvml.used_bytes(SECOND_GPU) is None
    assert nvml.memory_users(SECOND_GPU) == ()
    assert nvml.driver_version() is None


def test_metadata_is_complete_and_can_be_stored() -> None:
    meta = collect_meta(device="CPU", seed=3, origin=RunOrigin(argv=("probe", "batch"), recipe_hash="abc"))
    assert meta.torch_version == torch.__version__
    assert meta.argv == ("probe", "batch")
    assert datetime.fromisoformat(meta.started_at).utcoffset() is not None
    json.dumps(to_plain(meta))


def test_the_environment_names_what_is_missing_and_what_that_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "gpu_problem", lambda: "the GPU is on holiday.")
    report = describe_environment()
    assert report.gpus == ()
    assert report.num_cores >= 1
    assert any("the GPU is on holiday." in note and "--device simulated:SIZE" in note for note in report.notes)
    json.dumps(to_plain(report))


def test_cuda_gpus_are_listed_with_their_memory_and_users(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="NVIDIA H200", total_memory=1000, major=9, minor=0)
    monkeypatch.setattr(cuda, "find_problem", lambda kind: None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: properties)
    monkeypatch.setattr(nvml, "used_bytes", lambda properties: 400)
    monkeypatch.setattr(nvml, "memory_users", lambda properties: (MemoryUser(pid=7, name="python", used_bytes=2**30),))
    first, second = list_gpus()
    assert (first.device, second.device) == ("cuda:0", "cuda:1")
    assert (first.name, first.total_bytes, first.free_bytes) == ("NVIDIA H200", 1000, 600)
    assert first.users == ("python 7 (1.00 GiB)",)
    assert [note for note in describe_environment().notes if "40%" in note and "cuda:1" in note]
