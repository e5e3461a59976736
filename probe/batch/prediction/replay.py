"""Replay of recorded allocations in a simulated caching allocator, with as many further training steps as needed. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from probe.batch.prediction.allocation_model import Allocations
from probe.batch.prediction.allocator_simulation import Block, CachingAllocator

MAX_FURTHER_STEPS = 4
"""Training steps after which the allocator must serve all requests from its cache. Measurements wait for about as many."""


class Replay:
    """Allocations that are made and freed in an allocator."""

    def __init__(self, allocator: CachingAllocator, allocations: Allocations) -> None:
        self._allocator = allocator
        self._allocations = allocations
        self._blocks: dict[int, Block] = {}
        """Index of a live allocation -> its block."""

    def run(self) -> bool:
        """Replay everything; return whether there was enough memory."""
        return self._run(self._allocations.order, {})

    def is_steady(self) -> bool | None:
        """Return whether the allocator keeps its cache, after a few more training steps if necessary; None if memory runs out
        in them. If the last step cannot be repeated, the steps so far decide."""
        carried = self._allocations.carried_over() if self._allocator.num_retries else None
        if carried is None:
            return self._allocator.num_retries == 0
        if not self._return_to_training():
            return None
        for _ in range(MAX_FURTHER_STEPS):
            num_retries = self._allocator.num_retries
            if not self._run(self._allocations.last_step, carried):
                return None
            if self._allocator.num_retries == num_retries:
                return True
        return False

    def _run(self, order: tuple[int, ...], carried: Mapping[int, int]) -> bool:
        """Replay steps in order. What a repeated step frees from the step before, it names by `carried`."""
        made: dict[int, Block] = {}
        for step in order:
            if step > 0:
                num_bytes = self._allocations.sizes[step - 1]
                block = self._allocator.allocate(num_bytes) if num_bytes else None
                if block is not None:
                    made[step - 1] = block
                elif num_bytes:
                    return False
            else:
                index = -step - 1
                freed = made.pop(index) if index in made else self._blocks.pop(carried.get(index, index), None)
                if freed is not None:
                    self._allocator.free(freed)
        self._blocks |= made
        return True

    def _return_to_training(self) -> bool:
        """Free what evaluation holds, and hold the training batch again."""
        allocations = self._allocations
        for index in [index for index in self._blocks if index >= allocations.num_training]:
            self._allocator.free(self._blocks.pop(index))
        for index, kind in enumerate(allocations.kinds[: allocations.num_training]):
            num_bytes = allocations.sizes[index]
            if kind == "data" and num_bytes and index not in self._blocks:
                block = self._allocator.allocate(num_bytes)
                if block is None:
                    return False
                self._blocks[index] = block
        return True
