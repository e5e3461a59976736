"""Rules of the caching allocator, and invariants of its simulation."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.batch.prediction.allocator_simulation import Block, CachingAllocator, rounded_bytes

MIB = 2**20
SIZES = st.one_of(
    st.integers(1, 4096), st.integers(1, 30 * MIB), st.sampled_from([MIB, MIB + 1, 10 * MIB, 10 * MIB - 512])
)
REQUESTS = st.lists(st.one_of(SIZES, st.integers(-50, -1)), max_size=60)
"""Positive numbers allocate as many bytes; negative ones free one of the live blocks."""


def taken(allocator: CachingAllocator, num_bytes: int) -> Block:
    block = allocator.allocate(num_bytes)
    assert block is not None
    return block


@pytest.mark.parametrize(
    ("num_bytes", "segment_bytes"),
    [
        (1, 2 * MIB),
        (MIB, 2 * MIB),
        (MIB + 1, 20 * MIB),
        (10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB),
        (10 * MIB + 1, 12 * MIB),
        (25 * MIB, 26 * MIB),
    ],
)
def test_segments(num_bytes: int, segment_bytes: int) -> None:
    allocator = CachingAllocator()
    taken(allocator, num_bytes)
    assert allocator.reserved_bytes == segment_bytes


def test_small_requests_share_a_segment() -> None:
    allocator = CachingAllocator()
    blocks = [taken(allocator, 1) for _ in range(4096)]
    assert (allocator.reserved_bytes, allocator.allocated_bytes) == (2 * MIB, 2 * MIB)
    assert [block.address for block in blocks] == list(range(0, 2 * MIB, 512))
    taken(allocator, 1)
    assert allocator.reserved_bytes == 4 * MIB


def test_a_large_block_is_split_only_if_more_than_a_mebibyte_is_left() -> None:
    allocator = CachingAllocator()
    allocator.free(taken(allocator, 12 * MIB))
    whole = taken(allocator, 11 * MIB)
    assert whole.num_bytes == 12 * MIB
    allocator.free(whole)
    assert taken(allocator, 11 * MIB - 512).num_bytes == 11 * MIB - 512


def test_the_smallest_block_that_is_large_enough_serves() -> None:
    allocator = CachingAllocator()
    large, medium, small = (taken(allocator, size * MIB) for size in (30, 20, 14))
    for block in (large, medium, small):
        allocator.free(block)
    assert taken(allocator, 15 * MIB).address == medium.address
    assert allocator.reserved_bytes == 64 * MIB


def test_freed_neighbours_join() -> None:
    allocator = CachingAllocator()
    blocks = [taken(allocator, 5 * MIB) for _ in range(4)]
    for index in (0, 2, 1, 3):
        allocator.free(blocks[index])
    assert taken(allocator, 20 * MIB).address == 0
    assert allocator.reserved_bytes == 20 * MIB


def test_cached_segments_are_given_back_before_a_request_fails() -> None:
    allocator = CachingAllocator(limit_bytes=40 * MIB)
    allocator.free(taken(allocator, 20 * MIB))
    kept = taken(allocator, 2 * MIB)
    assert allocator.reserved_bytes == 20 * MIB
    assert allocator.allocate(36 * MIB) is None  # the segment that holds `kept` stays
    assert (allocator.num_retries, allocator.reserved_bytes) == (1, 20 * MIB)
    allocator.free(kept)
    assert taken(allocator, 36 * MIB).num_bytes == 36 * MIB
    assert (allocator.num_retries, allocator.reserved_bytes, allocator.peak_reserved_bytes) == (2, 36 * MIB, 36 * MIB)


def test_nonsense_is_refused() -> None:
    allocator = CachingAllocator()
    with pytest.raises(ValueError, match="at least 1 byte"):
        allocator.allocate(0)
    block = taken(allocator, 1)
    allocator.free(block)
    with pytest.raises(ValueError, match="free already"):
        allocator.free(block)


@given(REQUESTS, st.one_of(st.none(), st.integers(0, 200 * MIB)))
def test_what_always_holds(requests: list[int], limit_bytes: int | None) -> None:
    allocator = CachingAllocator(limit_bytes)
    live: list[Block] = []
    for request in requests:
        if request > 0:
            block = allocator.allocate(request)
            if block is None:
                assert limit_bytes is not None
                assert allocator.num_retries > 0
            else:
                assert block.num_bytes >= rounded_bytes(request)
                live.append(block)
        elif live:
            allocator.free(live.pop(request % len(live)))
        assert allocator.allocated_bytes == sum(block.num_bytes for block in live) <= allocator.peak_allocated_bytes
        assert allocator.allocated_bytes <= allocator.reserved_bytes <= allocator.peak_reserved_bytes
        assert limit_bytes is None or allocator.peak_reserved_bytes <= limit_bytes
    ends = sorted((block.address, block.address + block.num_bytes) for block in live)
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))
    for block in live:
        allocator.free(block)
    assert allocator.release_cache() == allocator.peak_reserved_bytes or allocator.num_retries
    assert allocator.reserved_bytes == allocator.allocated_bytes == 0


@given(REQUESTS)
def test_a_second_pass_in_the_same_order_needs_no_more_than_twice_the_first(requests: list[int]) -> None:
    allocator = CachingAllocator()
    peaks = []
    for _ in range(2):
        live = []
        for request in requests:
            if request > 0:
                live.append(taken(allocator, request))
            elif live:
                allocator.free(live.pop(request % len(live)))
        for block in live:
            allocator.free(block)
        peaks.append(allocator.peak_reserved_bytes)
    assert peaks[0] <= peaks[1] <= 2 * peaks[0]
