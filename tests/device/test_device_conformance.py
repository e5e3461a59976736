"""Every device that counts memory keeps the same promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fake_device
import pytest
import torch
from conformance import MIB, DeviceConformance
from fake_gpus import FakeMachine

import probe
from probe.device import accelerator, cpu, cuda, select, simulated
from probe.device.cpu import CpuDevice
from probe.device.environment import describe_environment
from probe.device.protocol import Device
from probe.device.select import DeviceModule, GpuModule
from probe.device.simulated import SimulatedDevice
from probe.errors import UsageError


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


class TestFakeGpu(DeviceConformance):
    """A new kind of device needs its module and a line of the registry, and works everywhere."""

    too_many_bytes = 80 * MIB

    @pytest.fixture(autouse=True)
    def registered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(select.KINDS, "cuda")
        monkeypatch.setitem(select.KINDS, "fake", fake_device.KIND)

    @pytest.fixture
    def device(self, registered: None) -> Device:
        return select.open_device(select.parse_device("fake:1"), measuring_memory=True)

    def test_it_is_found_by_name_and_by_auto(self) -> None:
        assert str(select.parse_device("fake:1")) == "fake:1"
        assert select.parse_device("fake").is_gpu
        found = select.resolve_device(select.parse_device("auto", memory="32MiB"), measuring_memory=True)
        assert (found.kind, found.index, found.limit_bytes) == ("fake", 0, 32 * MIB)
        assert select.gpu_problem() is None
        with pytest.raises(UsageError, match="fake:N"):
            select.parse_device("fake:x")

    def test_the_environment_lists_it(self) -> None:
        report = describe_environment()
        assert [gpu.device for gpu in report.gpus] == ["fake:0"]
        assert any("50%" in note and "fake:0" in note for note in report.notes)

    def test_a_batch_probe_measures_it(self) -> None:
        task = probe.Task(
            model=lambda: torch.nn.Linear(8, 2),
            train=torch.utils.data.TensorDataset(torch.randn(64, 8), torch.randint(2, (64,))),
            loss=torch.nn.functional.cross_entropy,
        )
        result = probe.find_batch_size(task, device="fake", max=8, in_process=True, confirm_steps=0, predict=False)
        assert result.largest_fit == 8
        assert result.meta.device == "Fake GPU (fake:0)"


DEVICE_MODULES: list[DeviceModule] = [cpu, cuda, accelerator, simulated]
GPU_MODULES: list[GpuModule] = [cuda, accelerator, fake_device]
"""mypy checks that they implement the protocols."""


needs_cuda = pytest.mark.skipif(cuda.find_problem() is not None, reason=f"needs a CUDA device: {cuda.find_problem()}")


@needs_cuda
class TestCudaDevice(DeviceConformance):
    @pytest.fixture
    def device(self) -> Device:
        device = select.open_device(select.parse_device("cuda"), measuring_memory=True)
        assert device.limit_bytes is not None
        self.too_many_bytes = device.limit_bytes + MIB
        device.release()
        return device

    def test_what_was_there_is_known(self, device: Device) -> None:
        memory = device.memory
        assert memory is not None
        assert device.limit_bytes == memory.offered_bytes <= memory.total_bytes
        assert 0 < memory.context_bytes < memory.total_bytes
        assert device.workspace_bytes is not None


class TestAcceleratorDevice(TestCudaDevice):
    """The device of all other kinds of GPUs, here on a CUDA device."""

    @pytest.fixture(autouse=True)
    def opened_generically(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kind = replace(select.KINDS["cuda"], module="probe.device.accelerator")
        monkeypatch.setitem(select.KINDS, "cuda", kind)

    def test_it_is_untested(self, device: Device) -> None:
        assert device.warnings("fp32") == device.warnings("bf16")
        (text,) = device.warnings("fp32")
        assert "has not been tested on real CUDA devices" in text


def test_the_gpus_of_a_fake_machine_pass(fake_machine: Callable[..., FakeMachine]) -> None:
    here = Path(__file__)
    classes = [f"{here}::{each.__name__}" for each in (TestCudaDevice, TestAcceleratorDevice)]
    done = fake_machine().run_module("pytest", "-n", "0", "-p", "no:cacheprovider", *classes, cwd=here.parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_the_plain_cpu_counts_nothing_and_limits_nothing() -> None:
    device = CpuDevice()
    with device.track():
        tensor = torch.ones(1000)
    assert device.read_memory() is None
    assert device.live_bytes() is None
    assert device.limit_bytes is None
    assert device.memory is None
    assert device.workspace_bytes is None
    assert device.num_alloc_retries() == 0
    assert device.warnings("bf16") == ()
    assert len(device.seconds_between([device.mark(), device.mark()])) == 1
    assert tensor.device == device.torch_device
