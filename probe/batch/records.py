"""What a batch probe leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from probe.records import SCHEMA_VERSION, DeviceMemory, MemoryReading, Precision, RunMeta

Purpose = Literal["size", "throughput", "confirm"]
Outcome = Literal["fits", "oom", "oom_in_eval", "thrashes", "kernel_limit", "host_oom", "crashed", "error"]
Cap = Literal["max", "data", "kernel_limit", "error"]
StoppedBy = Literal["finished", "nothing_fits", "predicted", "interrupted", "error"]
TracedAs = Literal["fake cpu"]
Part = Literal["train", "val"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleCoverage:
    """How the costliest samples of one part of the data were found."""

    part: Part
    num_samples: int
    num_measured: int
    """Samples that were read in order to measure them; the others are taken to be like these."""
    ranked_by: tuple[str, ...] = ()
    """Measures by which samples differ: `total size`, `[0].length`. Batches of the largest samples by each are tried."""
    unmeasured: tuple[str, ...] = ()
    """Types found in samples whose size is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryGrowth:
    """Memory that every training step adds and none frees."""

    bytes_per_step: float
    last_step: int
    """The step in which memory runs out at this rate; where the attempt failed, in which it did."""


MEMORY_OUTCOMES: frozenset[Outcome] = frozenset({"oom", "oom_in_eval", "thrashes", "host_oom"})
"""A lack of memory for certain. What other failures say about a size depends on the sizes beside it (errors_by_size.py)."""
CLOSE_ERROR = 1e-3
"""Fraction of a traced peak: what was expected to within this agrees with it."""
ContradictionKind = Literal["fits", "does not fit", "peak"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One batch size tried with real training steps. Timings are there if and only if it fits."""

    batch_size: int
    purpose: Purpose
    outcome: Outcome
    num_steps: int = 0
    """Timed training steps."""
    step_seconds: float | None = None
    """Median over the timed steps."""
    step_seconds_low: float | None = None
    """Lower quartile over the timed steps."""
    step_seconds_high: float | None = None
    """Upper quartile."""
    samples_per_second: float | None = None
    memory: MemoryReading | None = None
    host_peak_bytes: int | None = None
    """Largest resident set of the process that trained; None where the system does not say."""
    message: str | None = None
    """Why it did not fit, in the words of whoever said so; or what is odd about one that fits."""
    traceback: str | None = None
    """Of the error that the message quotes, where it is not known to be a lack of memory."""
    num_samples: int = 0
    """Training samples that its steps saw, those that are not timed included."""
    num_batches: int = 0
    """Shuffled batches of the training set, of this size, that were trained on without a failure; only in a confirming
    attempt."""
    batches_per_epoch: int | None = None
    """Without a last one of fewer samples. None where the data set has no end."""
    growth: MemoryGrowth | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"a batch size is at least 1, not {self.batch_size}")
        timed = self.step_seconds is not None and self.samples_per_second is not None
        untimed = self.step_seconds is None and self.samples_per_second is None
        if not (timed if self.outcome == "fits" else untimed):
            raise ValueError(f"timings belong to attempts that fit, and to all of them; this one: {self.outcome}")

    @property
    def fits(self) -> bool:
        return self.outcome == "fits"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryParts:
    """What fills a card's memory at the moment when tensors take the most of it."""

    weights_bytes: int
    """Parameters and buffers."""
    gradients_bytes: int
    optimizer_state_bytes: int
    data_bytes: int
    """The batch, and the data set where it lives on the card."""
    activations_bytes: int
    """What the forward pass keeps for the backward pass, and what both are working on."""
    workspace_bytes: int
    """The optimizer's scratch memory, and what cuBLAS and cuDNN take."""
    cache_bytes: int
    """Held by the caching allocator beyond all that: rounding and gaps."""
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
    """What is expected of a card: from traces without data, replayed through a model of its allocator."""

    memory_bytes: int
    """The card's."""
    largest_fit: int | None
    """The largest power of two that fits without the allocator emptying its cache; None where not even 1 does."""
    peak_bytes: int
    """What that size takes of the card, the context included; what batch size 1 would take where `largest_fit` is None."""
    allocated_bytes: int
    """Of that, the largest sum of live tensors (`torch.cuda.max_memory_allocated`)."""
    is_traced: bool = False
    """Whether that size was traced itself; otherwise it was interpolated between sizes that were."""
    parts: MemoryParts
    """They add up to `peak_bytes`."""

    def __post_init__(self) -> None:
        if self.largest_fit is not None and not 0 < self.peak_bytes <= self.memory_bytes:
            raise ValueError(f"{self.peak_bytes} bytes do not fit into {self.memory_bytes}")
        if self.parts.total_bytes != self.peak_bytes:
            raise ValueError(f"parts of {self.parts.total_bytes} bytes do not add up to {self.peak_bytes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceCheck:
    """A batch size that was predicted from other sizes' traces, and then traced itself."""

    batch_size: int
    expected_bytes: int
    """Largest sum of live tensors, from the traces before this one."""
    traced_bytes: int
    """As its own trace says."""

    @property
    def error(self) -> float:
        """Of what was expected, as a fraction of what was traced: above 0 where too much was expected."""
        return (self.expected_bytes - self.traced_bytes) / self.traced_bytes if self.traced_bytes else 0.0

    @property
    def agrees(self) -> bool:
        return abs(self.error) < CLOSE_ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedPeak:
    """One point of the predicted memory curve, on a device that always has room."""

    batch_size: int
    allocated_bytes: int
    """Largest sum of live tensors."""
    peak_bytes: int
    """What is taken of the device, cache and context included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """How the memory was predicted, or why it could not be."""

    traced_as: TracedAs | None
    """The kind of tensors that the training step was traced with; None where it could not be traced."""
    unseen: tuple[str, ...] = ()
    """What the trace or the model of the device does not see, in words."""
    failure: str | None = None
    """Why there is no prediction."""
    checks: tuple[TraceCheck, ...] = ()
    """Sizes whose own trace checked, and then replaced, what smaller ones had let expect; in the order they were traced."""
    curve: tuple[PredictedPeak, ...] = ()
    """Powers of two, growing; up to one beyond the largest size of interest."""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if (self.traced_as is None) != (self.failure is not None):
            raise ValueError("a forecast has either a trace or the reason why there is none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """A measurement that contradicts the prediction."""

    kind: ContradictionKind
    """fits: it was predicted not to. does not fit: it was predicted to. peak: another one was predicted."""
    batch_size: int
    predicted_bytes: int | None
    """Largest sum of live tensors; None where the size was not predicted."""
    measured_bytes: int | None
    """None where the size does not fit, or where memory was not measured."""

    @property
    def error(self) -> float | None:
        """Of the predicted peak, as a fraction of the measured one: above 0 where too much was predicted."""
        if self.predicted_bytes is None or not self.measured_bytes:
            return None
        return (self.predicted_bytes - self.measured_bytes) / self.measured_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A change after which something fits where nothing did."""

    change: str
    """In words: `images of 128 x 128`, `bf16`, `activation activation_checkpointing`."""
    largest_fit: int
    peak_bytes: int
    """Predicted for that size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """The answer of `probe batch`: `largest_fit` is the size of an attempt that really ran and fit."""

    schema: int = SCHEMA_VERSION
    kind: Literal["batch"] = "batch"
    meta: RunMeta
    stopped_by: StoppedBy
    task: str
    """What was trained, in words."""
    optimizer: str
    precision: Precision
    limit_bytes: int | None
    """What the device offered, others' share subtracted; None where there was no device."""
    device_memory: DeviceMemory | None = None
    """What was there before the first attempt; None for the CPU and where there was no device."""
    num_samples: int | None
    """Size of the training set; None if it has none (synthetic data)."""
    samples: tuple[SampleCoverage, ...] = ()
    """Of the training part, and of the validation part where the task has one."""
    largest_fit: int | None
    """The largest power of two that fits; confirmed unless a confirming attempt is missing from `attempts`."""
    recommended: int | None
    """The smallest size whose throughput is within 5 % of the best measured; None where no curve was asked for."""
    capped_by: Cap | None
    """What kept the sweep from going up though `largest_fit` fits: `--max`, the data set's size, a kernel limit, or an error
    that larger batches end in."""
    attempts: tuple[Attempt, ...]
    """Empty where there was no device: then `predictions` are the answer."""
    forecast: Forecast | None = None
    """Where the predictions come from; None where none was asked for."""
    predictions: tuple[Prediction, ...] = ()
    """For the device where there was one, for common cards or the one asked for where there was not."""
    contradictions: tuple[Contradiction, ...] = ()
    """Where attempts contradict the prediction."""
    alternatives: tuple[Alternative, ...] = ()
    """Where not even batch size 1 fits: what would, as predicted for the same memory."""
    seconds: float

    def __post_init__(self) -> None:
        if self.stopped_by == "predicted" and self.attempts:
            raise ValueError("where something was tried, the answer is no mere prediction")
        fitting = {attempt.batch_size for attempt in self.attempts if attempt.fits}
        for name, size in (("largest_fit", self.largest_fit), ("recommended", self.recommended)):
            if size is not None and size not in fitting:
                raise ValueError(f"{name}={size} is not the size of an attempt that fits: {sorted(fitting)}")
