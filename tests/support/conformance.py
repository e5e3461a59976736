"""What every device that counts memory must do. One test class per device calls `DeviceConformance` with its own `device`."""

from __future__ import annotations

import gc
from typing import get_args

import pytest
import torch

from probe.device.failures import classify_failure
from probe.device.protocol import Device
from probe.records import MemoryReading, Precision

MIB = 2**20


class DeviceConformance:
    """Subclasses give a fixture `device` whose limit is 64 MiB of tensors or more, and at most its `too_many_bytes`."""

    too_many_bytes: int

    @pytest.fixture
    def device(self) -> Device:
        raise NotImplementedError

    def allocate(self, device: Device, num_bytes: int) -> torch.Tensor:
        return torch.ones(num_bytes // 4, device=device.torch_device)

    def reading(self, device: Device) -> MemoryReading:
        found = device.read_memory()
        assert found is not None
        return found

    def test_the_peak_holds_what_was_alive_at_once(self, device: Device) -> None:
        with device.track():
            device.reset_peaks()
            before = self.reading(device).peak_allocated_bytes
            first = self.allocate(device, 8 * MIB)
            second = self.allocate(device, 4 * MIB)
            del first, second
            third = self.allocate(device, 2 * MIB)
        assert self.reading(device).peak_allocated_bytes - before == 12 * MIB
        del third

    def test_views_and_in_place_operators_add_nothing(self, device: Device) -> None:
        with device.track():
            tensor = self.allocate(device, 4 * MIB)
            device.reset_peaks()
            before = self.reading(device).peak_allocated_bytes
            tensor.view(-1, 4)[2:].t().add_(1).mul_(2)
        assert self.reading(device).peak_allocated_bytes == before

    def test_what_the_host_allocates_untracked_does_not_count(self, device: Device) -> None:
        with device.track():
            device.reset_peaks()
            before = self.reading(device).peak_allocated_bytes
            with device.untracked():
                sample = torch.ones(MIB)
            kept = self.allocate(device, MIB)
        assert self.reading(device).peak_allocated_bytes - before == MIB
        del sample, kept

    def test_reset_forgets_old_peaks_but_not_what_is_alive(self, device: Device) -> None:
        before = device.live_bytes() or 0  # workspaces of libraries
        with device.track():
            kept = self.allocate(device, 4 * MIB)
            gone = self.allocate(device, 16 * MIB)
            del gone
            device.reset_peaks()
        assert self.reading(device).peak_allocated_bytes - before == 4 * MIB
        del kept

    def test_past_the_limit_the_typed_error_is_raised(self, device: Device) -> None:
        with pytest.raises(torch.OutOfMemoryError, match="out of memory") as caught, device.track():
            self.allocate(device, self.too_many_bytes)
        assert classify_failure(caught.value) == "oom"

    def test_after_running_out_and_a_release_the_memory_is_there_again(self, device: Device) -> None:
        def run_out() -> bool:
            held = []
            try:
                with device.track():
                    while True:
                        held.append(self.allocate(device, self.too_many_bytes // 4))
            except torch.OutOfMemoryError:
                return True

        before = device.live_bytes() or 0
        assert run_out()
        device.release()
        device.reset_peaks()
        with device.track():
            del_me = self.allocate(device, 32 * MIB)
        assert self.reading(device).peak_allocated_bytes - before < 40 * MIB
        del del_me

    def test_saved_activations_and_gradients_count(self, device: Device) -> None:
        with device.track():
            weight = self.allocate(device, 4 * MIB).requires_grad_()
            device.reset_peaks()
            before = self.reading(device).peak_allocated_bytes
            loss = (weight.exp() * weight).sum()
            gc.collect()
            held_for_backward = self.reading(device).peak_allocated_bytes - before
            torch.autograd.backward(loss)
        assert held_for_backward >= 8 * MIB  # exp's result is saved; its product lives until it is summed
        assert weight.grad is not None
        assert self.reading(device).peak_allocated_bytes - before >= 8 * MIB

    def test_live_bytes_follow_what_is_alive(self, device: Device) -> None:
        before = device.live_bytes()
        assert before is not None
        with device.track():
            kept = [self.allocate(device, MIB) for _ in range(3)]
            assert device.live_bytes() == before + 3 * MIB
            del kept[1:]
            assert device.live_bytes() == before + MIB
        del kept
        assert device.live_bytes() == before

    def test_a_reading_tells_the_size_of_the_device(self, device: Device) -> None:
        assert self.reading(device).device_total_bytes == device.limit_bytes

    def test_marks_measure_time_in_order(self, device: Device) -> None:
        marks = [device.mark()]
        for _ in range(3):
            self.allocate(device, MIB)
            marks.append(device.mark())
        seconds = device.seconds_between(marks)
        assert len(seconds) == 3
        assert all(0 <= each < 10 for each in seconds)

    def test_nothing_was_retried_while_there_is_room(self, device: Device) -> None:
        device.reset_peaks()
        with device.track():
            kept = self.allocate(device, MIB)
        assert device.num_alloc_retries() == self.reading(device).num_alloc_retries == 0
        del kept

    def test_warnings_are_sentences(self, device: Device) -> None:
        assert all(text.endswith(".") for precision in get_args(Precision) for text in device.warnings(precision))

    def test_it_has_a_name_for_people(self, device: Device) -> None:
        assert len(device.name) > 3
