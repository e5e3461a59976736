"""Every device that counts memory keeps the same promises."""

from __future__ import annotations

import pytest
import torch
from conformance import MIB, DeviceConformance

from probe.device.cpu import CpuDevice
from probe.device.protocol import Device
from probe.device.select import cuda_problem
from probe.device.simulated import SimulatedDevice


class TestSimulatedDevice(DeviceConformance):
    too_many_bytes = 80 * MIB

    @pytest.fixture
    def device(self) -> Device:
        return SimulatedDevice(64 * MIB)

    def test_its_error_is_recognised_by_the_texts_that_other_programs_look_for(self, device: Device) -> None:
        with pytest.raises(torch.OutOfMemoryError) as caught, device.track():
            self.allocate(device, self.too_many_bytes)
        (text,) = caught.value.args
        assert text.startswith("CUDA out of memory. Simulated: tried to allocate 80.0 MiB for aten.ones.default. ")


@pytest.mark.skipif(cuda_problem() is not None, reason=f"needs a CUDA device: {cuda_problem()}")
class TestCudaDevice(DeviceConformance):
    @pytest.fixture
    def device(self) -> Device:
        from probe.device.cuda import CudaDevice

        device = CudaDevice(0)
        self.too_many_bytes = device.limit_bytes + MIB
        device.release()
        return device

    def test_what_was_there_is_known(self, device: Device) -> None:
        memory = device.memory
        assert memory is not None
        assert device.limit_bytes == memory.offered_bytes <= memory.total_bytes
        assert 0 < memory.context_bytes < memory.total_bytes
        assert device.workspace_bytes is not None


def test_the_plain_cpu_counts_nothing_and_limits_nothing() -> None:
    device = CpuDevice()
    with device.track():
        tensor = torch.ones(1000)
    assert device.read_memory() is None
    assert device.live_bytes() is None
    assert device.limit_bytes is None
    assert device.memory is None
    assert device.workspace_bytes is None
    assert len(device.seconds_between([device.mark(), device.mark()])) == 1
    assert tensor.device == device.torch_device
