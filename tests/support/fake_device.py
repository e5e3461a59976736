"""A kind of GPU for tests: the simulated device under another name. It shows what a new device has to provide."""

from __future__ import annotations

from dataclasses import replace

from probe.device.protocol import GpuReport
from probe.device.select import DeviceKind, DeviceSpec
from probe.device.simulated import SimulatedDevice

SIZE = 64 * 2**20
KIND = DeviceKind(module="fake_device", is_gpu=True, argument="index")


class FakeGpu(SimulatedDevice):
    is_gpu = True

    def __init__(self, index: int, *, limit_bytes: int | None = None) -> None:
        super().__init__(limit_bytes or SIZE)
        self.name = f"Fake GPU (fake:{index})"


def find_problem(kind: str) -> str | None:
    return None


def resolve(spec: DeviceSpec, *, measuring_memory: bool) -> DeviceSpec:
    return replace(spec, index=spec.index or 0)


def open_device(spec: DeviceSpec) -> FakeGpu:
    return FakeGpu(spec.index or 0, limit_bytes=spec.limit_bytes)


def list_gpus(kind: str) -> tuple[GpuReport, ...]:
    return (GpuReport(device="fake:0", name="Fake GPU", total_bytes=SIZE, free_bytes=SIZE // 2, users=()),)
