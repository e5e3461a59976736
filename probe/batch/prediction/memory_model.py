"""The memory of one training run as a function of batch size and card: what `predict` returns, asked without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from probe.batch.prediction.allocation_model import Allocations, Fit, Kind
from probe.batch.prediction.allocator_simulation import Block, CachingAllocator
from probe.batch.records import MemoryParts, TraceCheck, TracedAs

_MIB = 2**20

Target = Literal["cuda", "simulated"]
"""Whose memory: a GPU's, or SimulatedDevice's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Untraceable:
    """There is no prediction: the training step cannot be run without data. The sweep goes on without."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedCosts:
    """What a CUDA process takes whatever the batch size. Defaults are assumptions; measured values replace them.

    context_bytes: the CUDA context with PyTorch's kernels, outside the allocator. 300 to 550 MiB have been seen, least on
        older cards with modules loaded lazily (the default since CUDA 12.2), most on Hopper.
    cublas_bytes: the workspace of the first matrix product, out of the allocator: 8,519,680 bytes (:4096:2:16:8), and
        32 MiB from compute capability 9.0 on (at::cuda::getChosenWorkspaceSize).
    cudnn_bytes: an allowance. What cuDNN asks for depends on the algorithm that it picks for each convolution; it takes a
        frugal one where memory is short.
    """

    context_bytes: int = 512 * _MIB
    cublas_bytes: int = 8_519_680
    cudnn_bytes: int = 64 * _MIB

    @classmethod
    def none(cls) -> FixedCosts:
        """Of a device that is simulated."""
        return cls(context_bytes=0, cublas_bytes=0, cudnn_bytes=0)

    @classmethod
    def assumed(cls, card_bytes: int | None) -> FixedCosts:
        """For a card that is known by its size alone: from 80 GB on it may be a Hopper or later one."""
        is_large = card_bytes is None or card_bytes >= 79 * 10**9
        return cls(cublas_bytes=32 * _MIB) if is_large else cls()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One batch size on one card. As measured by torch.cuda: peaks of blocks given out, and of segments held."""

    outcome: Literal["fits", "thrashes", "oom"]
    """thrashes: it fits, but only by emptying the allocator's cache, as an attempt says it."""
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    num_alloc_retries: int
    context_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Of the card: what nvidia-smi would show of this process."""
        return self.peak_reserved_bytes + self.context_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Picklable, and without torch. Batch sizes are those of whole training steps: accumulation is in it."""

    target: Target
    fit: Fit
    gradient_accumulation: int
    traced_gradient_accumulation: int
    """Micro-batches of a traced step: further ones repeat the last."""
    dataset_bytes: int
    """Of the data set's tensors, which live on the card where they take at most `max_dataset_share` of it."""
    max_dataset_share: float
    uses_convolutions: bool
    uses_matrix_products: bool
    traced_as: TracedAs
    checks: tuple[TraceCheck, ...] = ()
    unseen: tuple[str, ...]
    """What the trace or the model of the card does not see, in words."""
    seconds: float
    """That the traces took."""

    def live_peak_bytes(self, batch_size: int) -> int:
        """The largest sum of live tensors in training and evaluation steps, byte for byte: without rounding, workspaces,
        and the resident data set."""
        return self._allocations(batch_size).live_peak()[0]

    def is_traced(self, batch_size: int) -> bool:
        """Whether the training step was traced with this batch size, so that nothing about it is interpolated."""
        return self.micro_batch(batch_size) in {trace.micro_batch for trace in self.fit.traces}

    def micro_batch(self, batch_size: int) -> int:
        """Samples that the model sees at once."""
        return -(-batch_size // self.gradient_accumulation)

    def parts(self, batch_size: int) -> Mapping[Kind, int]:
        """What `live_peak_bytes` is made of; the values add up to it."""
        return self._allocations(batch_size).live_peak()[1]

    def resident_bytes(self, card_bytes: int | None) -> int:
        """Of the data set, on a card of this size."""
        fits = card_bytes is None or self.dataset_bytes <= self.max_dataset_share * card_bytes
        return self.dataset_bytes if fits else 0

    def workspace_bytes(self, costs: FixedCosts) -> int:
        """What cuBLAS and cuDNN are given for what this model does."""
        return costs.cublas_bytes * self.uses_matrix_products + costs.cudnn_bytes * self.uses_convolutions

    def replay(
        self,
        batch_size: int,
        card_bytes: int | None = None,
        *,
        costs: FixedCosts | None = None,
        resident_bytes: int | None = None,
    ) -> Replay:
        """Two training steps and an evaluation step through a model of the caching allocator, or, on the simulated device,
        as they are.

        `card_bytes` is all of the card's memory; None: a card that always has room. `resident_bytes`, by default, is what
        `resident_bytes(card_bytes)` says.
        """
        if self.target == "simulated":
            return _without_allocator(self.live_peak_bytes(batch_size), card_bytes)
        costs = FixedCosts.assumed(card_bytes) if costs is None else costs
        resident_bytes = self.resident_bytes(card_bytes) if resident_bytes is None else resident_bytes
        limit_bytes = None if card_bytes is None else max(card_bytes - costs.context_bytes, 0)
        allocator = CachingAllocator(limit_bytes)
        before = [
            resident_bytes,
            costs.cublas_bytes * self.uses_matrix_products,
            costs.cudnn_bytes * self.uses_convolutions,
        ]
        can_start = all(allocator.allocate(num_bytes) is not None for num_bytes in before if num_bytes)
        can_start = can_start and _run(allocator, self._allocations(batch_size))
        return Replay(
            outcome="oom" if not can_start else "thrashes" if allocator.num_retries else "fits",
            peak_allocated_bytes=allocator.peak_allocated_bytes,
            peak_reserved_bytes=allocator.peak_reserved_bytes,
            num_alloc_retries=allocator.num_retries,
            context_bytes=costs.context_bytes,
        )

    def memory_parts(self, batch_size: int, replay: Replay, *, costs: FixedCosts, resident_bytes: int) -> MemoryParts:
        """What the card's `replay.peak_bytes` are made of; the parts add up to it."""
        live = self.parts(batch_size)
        workspace_bytes = live["scratch"] + self.workspace_bytes(costs)
        known_bytes = sum(live.values()) + self.workspace_bytes(costs) + resident_bytes
        return MemoryParts(
            weights_bytes=live["weights"],
            gradients_bytes=live["gradients"],
            optimizer_state_bytes=live["optimizer_state"],
            data_bytes=live["data"] + resident_bytes,
            activations_bytes=live["activations"],
            workspace_bytes=workspace_bytes,
            cache_bytes=replay.peak_reserved_bytes - known_bytes,
            context_bytes=replay.context_bytes,
        )

    def _allocations(self, batch_size: int) -> Allocations:
        return self.fit.at(
            batch_size,
            gradient_accumulation=self.gradient_accumulation,
            traced_gradient_accumulation=self.traced_gradient_accumulation,
        )


def _run(allocator: CachingAllocator, allocations: Allocations) -> bool:
    """Whether the card had room for everything."""
    blocks: list[Block | None] = [None] * len(allocations.sizes)
    for step in allocations.order:
        if step > 0:
            num_bytes = allocations.sizes[step - 1]
            if num_bytes:
                block = allocator.allocate(num_bytes)
                if block is None:
                    return False
                blocks[step - 1] = block
        else:
            freed = blocks[-step - 1]
            if freed is not None:
                allocator.free(freed)
    return True


def _without_allocator(peak_bytes: int, limit_bytes: int | None) -> Replay:
    return Replay(
        outcome="fits" if limit_bytes is None or peak_bytes <= limit_bytes else "oom",
        peak_allocated_bytes=peak_bytes,
        peak_reserved_bytes=peak_bytes,
        num_alloc_retries=0,
        context_bytes=0,
    )
