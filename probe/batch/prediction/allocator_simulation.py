"""A simulation of PyTorch's caching allocator for CUDA (c10/cuda/CUDACachingAllocator.cpp, default settings, one stream). Pure.

Requests are rounded up to 512 bytes. Requests of at most 1 MiB are served from segments of 2 MiB, requests below 10 MiB from
segments of 20 MiB, and larger ones from a segment of their own size rounded up to 2 MiB. The smallest cached block that is
large enough is used and split if enough remains; a freed block is merged with its free neighbours. If the GPU has no memory
for another segment, all completely free segments are returned to it first.

Not simulated: expandable segments and other settings of PYTORCH_CUDA_ALLOC_CONF, several streams, and the addresses that
cudaMalloc returns (here, each segment is above the previous one).
"""

from __future__ import annotations

import bisect

_MIB = 2**20
_ROUNDING = 512
MAX_SMALL_BYTES = _MIB
SMALL_SEGMENT_BYTES = 2 * _MIB
LARGE_SEGMENT_BYTES = 20 * _MIB
_MIN_OWN_SEGMENT_BYTES = 10 * _MIB
_SEGMENT_ROUNDING = 2 * _MIB


class Block:
    """A part of a segment that is allocated, split and merged as a unit. Its neighbours are in the same segment."""

    __slots__ = ("address", "before", "behind", "is_free", "is_small", "num_bytes")

    def __init__(self, address: int, num_bytes: int, *, is_small: bool) -> None:
        self.address = address
        self.num_bytes = num_bytes
        self.is_small = is_small
        self.is_free = False
        self.before: Block | None = None
        self.behind: Block | None = None


class CachingAllocator:
    """The allocator of a GPU with `limit_bytes` for segments, which excludes the CUDA context; None for unlimited memory."""

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.limit_bytes = limit_bytes
        self.allocated_bytes = 0
        self.peak_allocated_bytes = 0
        """Sum of the allocated blocks, rounding included, as in `torch.cuda.max_memory_allocated`."""
        self.reserved_bytes = 0
        self.peak_reserved_bytes = 0
        self.num_retries = 0
        """How often free segments had to be released before another one could be allocated."""
        self._next_address = 0
        self._free_small: list[tuple[int, int, Block]] = []
        self._free_large: list[tuple[int, int, Block]] = []

    def allocate(self, num_bytes: int) -> Block | None:
        """Return a block of at least `num_bytes`, or None if memory runs out. Raises ValueError below 1 byte."""
        if num_bytes < 1:
            raise ValueError(f"an allocation must have at least 1 byte, not {num_bytes}")
        wanted = rounded_bytes(num_bytes)
        is_small = wanted <= MAX_SMALL_BYTES
        block = self._take_cached(wanted, is_small) or self._make_segment(wanted, is_small)
        if block is None:
            return None
        self._split(block, wanted)
        self.allocated_bytes += block.num_bytes
        self.peak_allocated_bytes = max(self.peak_allocated_bytes, self.allocated_bytes)
        return block

    def free(self, block: Block) -> None:
        """Free a block. Raises ValueError if it is free already."""
        if block.is_free:
            raise ValueError("this block is free already")
        self.allocated_bytes -= block.num_bytes
        block.is_free = True
        for neighbour in (block.before, block.behind):
            if neighbour is not None and neighbour.is_free:
                self._remove_cached(neighbour)
                block = _merged(block, neighbour)
        self._add_cached(block)

    def release_cache(self) -> int:
        """Return every completely free segment to the GPU, and return the number of bytes released."""
        before = self.reserved_bytes
        for cached in (self._free_small, self._free_large):
            whole = [entry for entry in cached if entry[2].before is None and entry[2].behind is None]
            self.reserved_bytes -= sum(num_bytes for num_bytes, _, _ in whole)
            cached[:] = [entry for entry in cached if entry[2].before is not None or entry[2].behind is not None]
        return before - self.reserved_bytes

    def _take_cached(self, wanted: int, is_small: bool) -> Block | None:
        cached = self._free_small if is_small else self._free_large
        place = bisect.bisect_left(cached, (wanted, -1))
        if place == len(cached):
            return None
        block = cached.pop(place)[2]
        block.is_free = False
        return block

    def _make_segment(self, wanted: int, is_small: bool) -> Block | None:
        num_bytes = segment_bytes(wanted)
        if not self._has_memory(num_bytes):
            self.num_retries += 1
            self.release_cache()
            if not self._has_memory(num_bytes):
                return None
        block = Block(self._next_address, num_bytes, is_small=is_small)
        self._next_address += num_bytes
        self.reserved_bytes += num_bytes
        self.peak_reserved_bytes = max(self.peak_reserved_bytes, self.reserved_bytes)
        return block

    def _has_memory(self, num_bytes: int) -> bool:
        return self.limit_bytes is None or self.reserved_bytes + num_bytes <= self.limit_bytes

    def _split(self, block: Block, wanted: int) -> None:
        """Split off and cache the bytes beyond `wanted` if they are enough for a block of their own."""
        left = block.num_bytes - wanted
        if left < _ROUNDING if block.is_small else left <= MAX_SMALL_BYTES:
            return
        rest = Block(block.address + wanted, left, is_small=block.is_small)
        rest.before, rest.behind = block, block.behind
        if block.behind is not None:
            block.behind.before = rest
        block.behind = rest
        block.num_bytes = wanted
        self._add_cached(rest)

    def _add_cached(self, block: Block) -> None:
        block.is_free = True
        cached = self._free_small if block.is_small else self._free_large
        bisect.insort(cached, (block.num_bytes, block.address, block))

    def _remove_cached(self, block: Block) -> None:
        cached = self._free_small if block.is_small else self._free_large
        del cached[bisect.bisect_left(cached, (block.num_bytes, block.address))]


def rounded_bytes(num_bytes: int) -> int:
    """Return the size of the block for a request, unless the rest of a larger block is too small to be split off."""
    return -(-num_bytes // _ROUNDING) * _ROUNDING


def segment_bytes(wanted: int) -> int:
    """Return the size of the segment that is allocated for a rounded request."""
    if wanted <= MAX_SMALL_BYTES:
        return SMALL_SEGMENT_BYTES
    if wanted < _MIN_OWN_SEGMENT_BYTES:
        return LARGE_SEGMENT_BYTES
    return -(-wanted // _SEGMENT_ROUNDING) * _SEGMENT_ROUNDING


def _merged(block: Block, neighbour: Block) -> Block:
    """Merge two neighbours into the one at the lower address."""
    low, high = (block, neighbour) if block.address < neighbour.address else (neighbour, block)
    low.num_bytes += high.num_bytes
    low.behind = high.behind
    if high.behind is not None:
        high.behind.before = low
    return low
