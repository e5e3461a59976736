"""Records that several kinds of results share."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_records import DEVICE_MEMORY, GIB

from probe.records import MemoryReading, larger_peak


@pytest.mark.parametrize(("allocated", "reserved"), [(-1, 5), (6, 5)])
def test_live_tensors_take_no_more_than_the_allocator(allocated: int, reserved: int) -> None:
    with pytest.raises(ValueError, match=f"allocated peak {allocated} "):
        MemoryReading(peak_allocated_bytes=allocated, peak_reserved_bytes=reserved)


def test_the_larger_of_two_readings() -> None:
    small, large = (MemoryReading(peak_allocated_bytes=1, peak_reserved_bytes=size) for size in (10, 20))
    assert larger_peak(small, large) == larger_peak(large, small) == large
    assert larger_peak(None, small) == larger_peak(small, None) == small
    assert larger_peak(None, None) is None


@pytest.mark.parametrize(("emulated", "offered"), [(None, 138 * GIB), (8 * GIB, 8 * GIB), (140 * GIB, 138 * GIB)])
def test_a_device_offers_what_others_leave_and_no_more_than_it_emulates(emulated: int | None, offered: int) -> None:
    assert replace(DEVICE_MEMORY, emulated_bytes=emulated).offered_bytes == offered


def test_what_spills_is_above_what_the_device_offers() -> None:
    measured = replace(DEVICE_MEMORY, emulated_bytes=8 * GIB, context_bytes=GIB, context_is_measured=True)
    assert [measured.spilled_bytes(size * GIB) for size in (6, 7, 8)] == [0, 0, GIB]
    assumed = replace(measured, context_is_measured=False)
    assert [assumed.spilled_bytes(size * GIB) for size in (8, 9)] == [0, GIB]
