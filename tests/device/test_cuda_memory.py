"""What is known about the memory of a GPU when it is opened, on machines with the fake driver."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest
from fake_gpus import FakeMachine

from probe.records import DeviceMemory

Make = Callable[..., FakeMachine]
MIB = 2**20


def _opened(index: int = 0, own_mib: int = 0) -> tuple[DeviceMemory, int | None, int]:
    """Open a GPU in a process that already holds `own_mib` on it. Returns its memory, its workspace and how much is used."""
    import torch

    from probe.device.select import open_device, parse_device

    held = torch.empty(own_mib * MIB, dtype=torch.uint8, device=f"cuda:{index}") if own_mib else None
    device = open_device(parse_device(f"cuda:{index}"), measuring_memory=True)
    reading = device.read_memory()
    assert device.memory is not None
    assert reading is not None
    assert reading.device_used_bytes is not None
    del held
    return device.memory, device.workspace_bytes, reading.device_used_bytes


@pytest.mark.parametrize(
    ("settings", "own_mib", "context_mib", "is_measured"),
    [
        ({}, 0, 450, True),
        ({"kernels_mib": 200}, 0, 650, True),
        ({"nvml": "processes"}, 0, 450, True),
        ({}, 100, 512, False),  # the context existed before
        ({"nvml": "init"}, 0, 512, False),
        ({"nvml": "init"}, 100, 512, False),
        ({"nvml": "memory"}, 0, 512, False),
        ({"mig_instances": 2}, 0, 512, False),
    ],
    ids=str,
)
def test_what_others_use_is_subtracted_at_every_opening(
    settings: dict[str, object], own_mib: int, context_mib: int, is_measured: bool, fake_machine: Make
) -> None:
    machine = fake_machine(others_mib=3072, **settings)
    memory, _, used = machine.call(_opened, own_mib=own_mib)
    assert (memory.context_bytes // MIB, memory.context_is_measured) == (context_mib, is_measured)
    outside_allocator = 3072 + 450 + int(str(settings.get("kernels_mib", 0)))
    assert memory.others_bytes + memory.context_bytes == outside_allocator * MIB
    assert memory.offered_bytes == 8192 * MIB - memory.others_bytes
    assert used >= outside_allocator * MIB


def test_a_worker_that_opens_its_gpu_again_sees_what_others_use_then(fake_machine: Make) -> None:
    machine = fake_machine()
    first, second = machine.worker(), machine.worker()
    before, _, _ = first.call(_opened)
    second.call(_opened, own_mib=1000)
    after, _, _ = first.call(_opened)
    assert before.others_bytes == 0
    assert 1300 * MIB < after.others_bytes < 1500 * MIB  # the tensor and the context of the other worker


def test_an_integrated_gpu_offers_what_the_host_can_free(fake_machine: Make) -> None:
    memory, _, _ = fake_machine(integrated=1, mib=1024, others_mib=300).call(_opened)
    assert memory.is_integrated
    assert memory.others_bytes == 0  # the host has much more free memory than this GPU has in all


def test_the_workspace_is_that_of_one_handle(fake_machine: Make) -> None:
    sizes = [fake_machine(capability=capability).call(_opened)[1] for capability in (75, 86, 90)]
    assert sizes == [8_519_680, 8_519_680, 32 * MIB]  # at::cuda::getChosenWorkspaceSize, in blocks of the allocator


def _contexts_after_use(index: int) -> list[int]:
    from probe.device.select import open_device, parse_device

    device = open_device(parse_device(f"cuda:{index}"), measuring_memory=True)
    device.seconds_between([device.mark(), device.mark()])
    device.read_memory()
    device.release()
    return [ctypes.CDLL(None).fake_has_context(gpu) for gpu in range(2)]


def test_using_one_gpu_creates_no_context_on_another(fake_machine: Make) -> None:
    assert fake_machine(count=2).call(_contexts_after_use, 1) == [0, 1]


def _offered(memory: str | None) -> tuple[str, int | None]:
    from probe.device.select import open_device, parse_device

    device = open_device(parse_device("cuda", memory=memory), measuring_memory=True)
    return device.name, device.limit_bytes


def test_an_emulated_gpu_offers_its_size_or_what_others_leave(fake_machine: Make) -> None:
    machine = fake_machine(others_mib=3072)
    name, limit = machine.call(_offered, "2GiB")
    assert (name, limit) == ("Fake GPU (cuda:0) emulating 2.00 GiB", 2048 * MIB)
    assert machine.call(_offered, "7GiB")[1] == (8192 - 3072) * MIB


def _warnings(precision: str, hip: str | None) -> tuple[str, ...]:
    import torch

    from probe.device.select import open_device, parse_device

    torch.version.hip = hip
    return open_device(parse_device("cuda"), measuring_memory=False).warnings(precision)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("capability", "precision", "hip", "words"),
    [
        (75, "bf16", None, ["emulates"]),
        (75, "tf32", None, ["tf32 is fp32"]),
        (75, "fp16", None, []),
        (86, "bf16", None, []),
        (86, "bf16", "6.4.1", ["not been tested on real AMD GPUs"]),
    ],
)
def test_what_a_gpu_cannot_do_is_a_warning(
    capability: int, precision: str, hip: str | None, words: list[str], fake_machine: Make
) -> None:
    found = fake_machine(capability=capability, nvml="init").call(_warnings, precision, hip)
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))
