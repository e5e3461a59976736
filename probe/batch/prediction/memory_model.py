"""The memory of one training run as a function of batch size and GPU. Pickles, and needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from probe.batch.prediction.allocation_model import AllocationModel, Allocations, Kind
from probe.batch.prediction.allocator_simulation import CachingAllocator
from probe.batch.prediction.replay import Replay
from probe.batch.prediction_records import MemoryBreakdown, TraceCheck, TracedAs
from probe.records import ASSUMED_CONTEXT_BYTES

_MIB = 2**20
_NUM_CUBLAS_WORKSPACES = 2
"""Those of the threads of the forward and of the backward pass. Handles of cuBLAS belong to threads."""

Target = Literal["gpu", "simulated"]
"""The kind of device whose memory is predicted: a GPU with PyTorch's caching allocator, or SimulatedDevice without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Untraceable:
    """The reason why there is no memory model: the training step cannot be run without data."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedCosts:
    """Memory that a CUDA process takes at any batch size. The defaults are assumptions; measured values replace them.

    context_bytes: the CUDA context with PyTorch's kernels, outside the allocator. Between 300 and 550 MiB have been measured:
        least on older GPUs with lazy loading of modules (the default since CUDA 12.2), most on Hopper.
    cublas_bytes: a workspace of cuBLAS, inside the allocator: 8,519,680 bytes (:4096:2:16:8), and 32 MiB from compute
        capability 9.0 on (at::cuda::getChosenWorkspaceSize). Each thread that multiplies matrices keeps one.
    cudnn_bytes: an allowance for cuDNN in the reserved memory. Its workspace depends on the algorithm that it selects for
        each convolution; it selects one with a small workspace if memory is short.
    """

    context_bytes: int = ASSUMED_CONTEXT_BYTES
    cublas_bytes: int = 8_519_680
    cudnn_bytes: int = 64 * _MIB

    @classmethod
    def none(cls) -> FixedCosts:
        """Return the costs of a simulated device, which are zero."""
        return cls(context_bytes=0, cublas_bytes=0, cudnn_bytes=0)

    @classmethod
    def assumed(cls, gpu_bytes: int | None) -> FixedCosts:
        """Return the costs of a GPU of which only the size is known. From 80 GB on it may be a Hopper or later GPU."""
        is_large = gpu_bytes is None or gpu_bytes >= 79 * 10**9
        return cls(cublas_bytes=32 * _MIB) if is_large else cls()


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationResult:
    """The result of simulating one batch size on one GPU, in the terms of torch.cuda's memory statistics."""

    outcome: Literal["fits", "thrashes", "oom"]
    """thrashes: the allocator empties its cache in every training step."""
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    num_alloc_retries: int
    context_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Memory of the GPU that this process takes, as shown by nvidia-smi."""
        return self.peak_reserved_bytes + self.context_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryModel:
    """Predicts the memory of a training run at any batch size. Batch sizes are those of whole optimizer steps; gradient
    accumulation is part of the model."""

    target: Target
    allocation_model: AllocationModel
    gradient_accumulation: int
    traced_gradient_accumulation: int
    """Micro-batches of a traced step. Further micro-batches repeat the last one."""
    dataset_bytes: int
    """Size of the data set's tensors, which are kept on the GPU if they take at most `max_dataset_fraction` of it."""
    max_dataset_fraction: float
    uses_convolutions: bool
    uses_matrix_products: bool
    traced_as: TracedAs
    checks: tuple[TraceCheck, ...] = ()
    unseen: tuple[str, ...]
    """Sentences about memory that the trace or the model of the GPU does not cover."""
    seconds: float

    def live_peak_bytes(self, batch_size: int) -> int:
        """Return the peak of live tensors in training and evaluation steps, without rounding, workspaces and the data set."""
        return self._allocations(batch_size).live_peak()[0]

    def is_traced(self, batch_size: int) -> bool:
        """Return whether the training step was traced at this batch size, so that no interpolation is needed."""
        return self.micro_batch(batch_size) in {trace.micro_batch for trace in self.allocation_model.traces}

    def micro_batch(self, batch_size: int) -> int:
        """Return the number of samples in one forward pass."""
        return -(-batch_size // self.gradient_accumulation)

    def live_bytes_by_kind(self, batch_size: int) -> Mapping[Kind, int]:
        """Return the bytes of each kind at the peak; they add up to `live_peak_bytes`."""
        return self._allocations(batch_size).live_peak()[1]

    def resident_bytes(self, gpu_bytes: int | None) -> int:
        """Return the bytes of the data set that are kept on a GPU of this size."""
        fits = gpu_bytes is None or self.dataset_bytes <= self.max_dataset_fraction * gpu_bytes
        return self.dataset_bytes if fits else 0

    def workspace_bytes(self, costs: FixedCosts) -> int:
        """Return the workspaces of cuBLAS and cuDNN that this model uses."""
        return sum(self._cublas_workspaces(costs)) + self._cudnn_bytes(costs)

    def simulate(
        self,
        batch_size: int,
        gpu_bytes: int | None = None,
        *,
        costs: FixedCosts | None = None,
        resident_bytes: int | None = None,
    ) -> SimulationResult:
        """Simulate training steps and an evaluation step in the caching allocator; a simulated device has none. Memory is
        unlimited if `gpu_bytes` is None. Costs and resident bytes default to those assumed for the GPU."""
        if self.target == "simulated":
            return _without_allocator(self.live_peak_bytes(batch_size), gpu_bytes)
        costs = FixedCosts.assumed(gpu_bytes) if costs is None else costs
        resident_bytes = self.resident_bytes(gpu_bytes) if resident_bytes is None else resident_bytes
        allocator = CachingAllocator(None if gpu_bytes is None else max(gpu_bytes - costs.context_bytes, 0))
        cudnn_bytes = self._cudnn_bytes(costs)
        permanent = (resident_bytes, *self._cublas_workspaces(costs), cudnn_bytes)
        has_memory = all(allocator.allocate(num_bytes) is not None for num_bytes in permanent if num_bytes)
        replay = Replay(allocator, self._allocations(batch_size))
        steady = replay.is_steady() if has_memory and replay.run() else None
        return SimulationResult(
            outcome="oom" if steady is None else "fits" if steady else "thrashes",
            peak_allocated_bytes=allocator.peak_allocated_bytes - cudnn_bytes,
            peak_reserved_bytes=allocator.peak_reserved_bytes,
            num_alloc_retries=allocator.num_retries,
            context_bytes=costs.context_bytes,
        )

    def breakdown(
        self, batch_size: int, simulation: SimulationResult, *, costs: FixedCosts, resident_bytes: int
    ) -> MemoryBreakdown:
        """Return the contents of `simulation.peak_bytes`; they add up to it."""
        live = self.live_bytes_by_kind(batch_size)
        library_bytes = self.workspace_bytes(costs)
        return MemoryBreakdown(
            weights_bytes=live["weights"],
            gradients_bytes=live["gradients"],
            optimizer_state_bytes=live["optimizer_state"],
            data_bytes=live["data"] + resident_bytes,
            activations_bytes=live["activations"],
            workspace_bytes=live["scratch"] + library_bytes,
            cache_bytes=simulation.peak_reserved_bytes - (sum(live.values()) + library_bytes + resident_bytes),
            context_bytes=simulation.context_bytes,
        )

    def _cublas_workspaces(self, costs: FixedCosts) -> tuple[int, ...]:
        return (costs.cublas_bytes,) * _NUM_CUBLAS_WORKSPACES if self.uses_matrix_products else ()

    def _cudnn_bytes(self, costs: FixedCosts) -> int:
        return costs.cudnn_bytes if self.uses_convolutions else 0

    def _allocations(self, batch_size: int) -> Allocations:
        return self.allocation_model.at(
            batch_size,
            gradient_accumulation=self.gradient_accumulation,
            traced_gradient_accumulation=self.traced_gradient_accumulation,
        )


def _without_allocator(peak_bytes: int, limit_bytes: int | None) -> SimulationResult:
    return SimulationResult(
        outcome="fits" if limit_bytes is None or peak_bytes <= limit_bytes else "oom",
        peak_allocated_bytes=peak_bytes,
        peak_reserved_bytes=peak_bytes,
        num_alloc_retries=0,
        context_bytes=0,
    )
