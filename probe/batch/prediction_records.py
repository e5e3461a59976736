"""Records of predicted memory: the prediction for each GPU, how it was made, and where measurements contradict it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

TracedAs = Literal["fake cpu"]
ContradictionKind = Literal["fits", "does not fit", "peak"]
CLOSE_ERROR = 1e-3
"""Largest relative error of a predicted peak that still counts as agreement with its trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBreakdown:
    """The contents of a GPU's memory at the moment when tensors take the most of it."""

    weights_bytes: int
    """Parameters and buffers."""
    gradients_bytes: int
    optimizer_state_bytes: int
    data_bytes: int
    """The batch, and the data set if it is kept on the GPU."""
    activations_bytes: int
    """Tensors saved for the backward pass and temporary tensors of the current operator."""
    workspace_bytes: int
    """Scratch memory of the optimizer, and workspaces of cuBLAS and cuDNN."""
    cache_bytes: int
    """Memory that the caching allocator holds beyond these tensors: rounding and gaps."""
    context_bytes: int
    """The CUDA context, outside the allocator."""

    def __post_init__(self) -> None:
        negative = [field.name for field in fields(self) if getattr(self, field.name) < 0]
        if negative:
            raise ValueError(f"amounts of memory cannot be negative: {', '.join(negative)}")

    @property
    def total_bytes(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The prediction for one GPU, from traces without data and a simulation of the caching allocator."""

    memory_bytes: int
    """Memory of the GPU."""
    largest_fit: int | None
    """The largest power of two that fits without the allocator emptying its cache; None if not even 1 does."""
    peak_bytes: int
    """Memory that this size takes, the CUDA context included. If `largest_fit` is None, memory of batch size 1."""
    allocated_bytes: int
    """The part of `peak_bytes` in live tensors at their peak (`torch.cuda.max_memory_allocated`)."""
    is_traced: bool = False
    """Whether this size was traced itself rather than interpolated from other traced sizes."""
    breakdown: MemoryBreakdown
    """Contents of the memory at the peak; they add up to `peak_bytes`."""

    def __post_init__(self) -> None:
        if self.largest_fit is not None and not 0 < self.peak_bytes <= self.memory_bytes:
            raise ValueError(f"{self.peak_bytes} bytes do not fit into {self.memory_bytes}")
        if self.breakdown.total_bytes != self.peak_bytes:
            raise ValueError(f"a breakdown of {self.breakdown.total_bytes} bytes does not add up to {self.peak_bytes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceCheck:
    """A batch size whose memory was predicted from traces of other sizes before it was traced itself."""

    batch_size: int
    expected_bytes: int
    """Predicted peak of live tensors."""
    traced_bytes: int
    """Peak of live tensors in the trace of this size."""

    @property
    def error(self) -> float:
        """Relative error of the prediction; positive if it was too large."""
        return (self.expected_bytes - self.traced_bytes) / self.traced_bytes if self.traced_bytes else 0.0

    @property
    def agrees(self) -> bool:
        return abs(self.error) < CLOSE_ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedPeak:
    """One point of the predicted memory curve, for a device with unlimited memory."""

    batch_size: int
    allocated_bytes: int
    """Peak of live tensors."""
    peak_bytes: int
    """Memory taken from the device, cache and context included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionInfo:
    """How the memory was predicted, or why it could not be predicted."""

    traced_as: TracedAs | None
    """Kind of tensors that the training step was traced with; None if it could not be traced."""
    unseen: tuple[str, ...] = ()
    """Sentences about memory that the trace or the model of the device does not cover."""
    failure: str | None = None
    """Reason why there is no prediction; None if there is one."""
    checks: tuple[TraceCheck, ...] = ()
    """Predicted sizes that were then traced themselves, in the order of the traces."""
    curve: tuple[PredictedPeak, ...] = ()
    """Powers of two in ascending order, up to one beyond the largest size that fits."""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if (self.traced_as is None) != (self.failure is not None):
            raise ValueError("a prediction has either a trace or the reason why there is none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """A measurement that contradicts the prediction."""

    kind: ContradictionKind
    """fits: a size fits although it was predicted not to. does not fit: the reverse. peak: the predicted peak is wrong."""
    batch_size: int
    predicted_bytes: int | None
    """Predicted peak of live tensors; None if this size was not predicted."""
    measured_bytes: int | None
    """Measured peak of live tensors; None if the size does not fit or memory was not measured."""

    @property
    def error(self) -> float | None:
        """Relative error of the predicted peak; positive if it was too large."""
        if self.predicted_bytes is None or not self.measured_bytes:
            return None
        return (self.predicted_bytes - self.measured_bytes) / self.measured_bytes
