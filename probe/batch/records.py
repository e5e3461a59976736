"""Records of a batch probe: the attempts, the result of one sweep, and the results of several variants side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from probe.batch.prediction_records import Contradiction, Prediction, PredictionInfo
from probe.records import SCHEMA_VERSION, DeviceMemory, MemoryReading, Precision, RunMeta

Purpose = Literal["size", "throughput", "confirm"]
Outcome = Literal[
    "fits", "oom", "oom_in_eval", "thrashes", "spills", "kernel_limit", "host_oom", "timed_out", "crashed", "error"
]
Cap = Literal["max", "data", "kernel_limit", "timeout", "error"]
StoppedBy = Literal["finished", "nothing_fits", "predicted", "interrupted", "error"]
Split = Literal["train", "val"]

MEMORY_OUTCOMES: frozenset[Outcome] = frozenset({"oom", "oom_in_eval", "thrashes", "spills", "host_oom"})
"""Failures that are certainly a lack of memory. Other failures depend on the sizes beside them (errors_by_size.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleCoverage:
    """How the largest samples of one split of the data were found."""

    split: Split
    num_samples: int
    num_measured: int
    """Number of samples that were read to measure their size; the others are assumed to be similar."""
    ranked_by: tuple[str, ...] = ()
    """Measures by which samples differ, like `total size` or `[0].length`. The largest by each measure are tried."""
    unmeasured: tuple[str, ...] = ()
    """Types of sample content whose size is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryGrowth:
    """Memory that every training step allocates and never frees."""

    bytes_per_step: float
    last_step: int
    """Step at which memory runs out at this rate; for a failed attempt, the step at which it ran out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One batch size tried with real training steps. It has timings if and only if it fits."""

    batch_size: int
    purpose: Purpose
    outcome: Outcome
    num_steps: int = 0
    """Number of timed training steps."""
    step_seconds: float | None = None
    """Median over the timed steps."""
    step_seconds_low: float | None = None
    """Lower quartile over the timed steps."""
    step_seconds_high: float | None = None
    """Upper quartile over the timed steps."""
    samples_per_second: float | None = None
    host_seconds: float | None = None
    """Shortest time in which the host queued a timed step; None if the device does not queue work, like the CPU."""
    memory: MemoryReading | None = None
    host_peak_bytes: int | None = None
    """Largest resident set of the process that trained; None if the system does not report it."""
    message: str | None = None
    """The error of an attempt that failed, or a remark about one that fits."""
    traceback: str | None = None
    """Traceback of the error that `message` quotes, unless it is a lack of memory."""
    num_samples: int = 0
    """Number of training samples in all of its steps, timed or not."""
    num_batches: int = 0
    """Number of shuffled batches of this size that were trained on without a failure; only in a confirming attempt."""
    batches_per_epoch: int | None = None
    """Number of full batches in an epoch; None if the data set has no end."""
    growth: MemoryGrowth | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"a batch size must be at least 1, not {self.batch_size}")
        timed = self.step_seconds is not None and self.samples_per_second is not None
        untimed = self.step_seconds is None and self.samples_per_second is None
        if not (timed if self.outcome == "fits" else untimed):
            raise ValueError(f"an attempt has timings if and only if it fits; the outcome is {self.outcome}")

    @property
    def fits(self) -> bool:
        return self.outcome == "fits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A change of the training after which a batch fits, although none fits without it."""

    change: str
    """Description of the change: `images of 128 x 128`, `bf16`, `activation checkpointing`."""
    largest_fit: int
    peak_bytes: int
    """Predicted peak at this size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """The result of `probe batch`. `largest_fit` is always the size of an attempt that ran and fit."""

    schema: int = SCHEMA_VERSION
    kind: Literal["batch"] = "batch"
    meta: RunMeta
    stopped_by: StoppedBy
    task: str
    """Description of the model and data that were trained."""
    optimizer: str
    precision: Precision
    limit_bytes: int | None
    """Memory that the device offers, without that of other processes; None if there was no device."""
    device_memory: DeviceMemory | None = None
    """The device's memory before the first attempt; None for the CPU or without a device."""
    warnings: tuple[str, ...] = ()
    """Warnings about training on the device in this precision."""
    num_samples: int | None
    """Size of the training set; None if it has no end (synthetic data)."""
    samples: tuple[SampleCoverage, ...] = ()
    """Coverage of the training split and, if the task has one, of the validation split."""
    largest_fit: int | None
    """The largest power of two that fits; confirmed unless `attempts` has no confirming attempt."""
    recommended: int | None
    """The smallest size whose throughput is within 5 % of the best measured; None without a throughput curve."""
    capped_by: Cap | None
    """Limit other than memory that ended the sweep above `largest_fit`: `--max`, the size of the data set, a kernel
    limit, or an error or a timeout at larger sizes."""
    attempts: tuple[Attempt, ...]
    """All attempts in order; empty without a device, where `predictions` are the result."""
    prediction_info: PredictionInfo | None = None
    """How the predictions were made; None if no prediction was requested."""
    predictions: tuple[Prediction, ...] = ()
    """The prediction for the device. Without a device, predictions for common GPUs or for the requested size."""
    contradictions: tuple[Contradiction, ...] = ()
    """Attempts that contradict the prediction."""
    alternatives: tuple[Alternative, ...] = ()
    """Changes after which a batch is predicted to fit, if not even batch size 1 fits."""
    seconds: float

    def __post_init__(self) -> None:
        if self.stopped_by == "predicted" and self.attempts:
            raise ValueError("a result with attempts cannot be stopped_by='predicted'")
        fitting = {attempt.batch_size for attempt in self.attempts if attempt.fits}
        for name, size in (("largest_fit", self.largest_fit), ("recommended", self.recommended)):
            if size is not None and size not in fitting:
                raise ValueError(f"{name}={size} is not the size of an attempt that fits: {sorted(fitting)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantSettings:
    """Settings that differ between the variants of a comparison."""

    image_size: int | None = None
    """Height and width of the images; None if image sizes are not compared."""
    precision: Precision = "fp32"
    activation_checkpointing: bool = False
    channels_last: bool = False
    """Whether images and weights of convolutions are stored with the channels last."""
    compile: bool = False
    """Whether the model is compiled with `torch.compile`."""

    @property
    def params(self) -> dict[str, Any]:
        """The hyperparameters of the trainer among them."""
        names = ("precision", "activation_checkpointing", "channels_last", "compile")
        return {name: getattr(self, name) for name in names}

    @property
    def mode(self) -> str:
        """How the arithmetic is done: `bf16 + channels_last + compile`."""
        flags = [name for name in ("channels_last", "compile") if getattr(self, name)]
        return " + ".join([self.precision, *flags])

    @property
    def title(self) -> str:
        """All of them: `256 x 256, bf16 + compile, with activation checkpointing`."""
        size = [] if self.image_size is None else [f"{self.image_size} x {self.image_size}"]
        checkpointing = ["with activation checkpointing"] if self.activation_checkpointing else []
        return ", ".join([*size, self.mode, *checkpointing])


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant(VariantSettings):
    """The result of a sweep with the settings of one variant."""

    result: BatchResult

    @property
    def failure(self) -> str | None:
        """The error of a variant that cannot be trained, although others can; None if it can be trained."""
        if self.result.stopped_by != "error":
            return None
        return next((attempt.message for attempt in reversed(self.result.attempts) if attempt.message), "no message")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderSpeed:
    """What the data loader of a task delivers on its own, without training."""

    num_workers: int
    """Number of processes that load samples; 0 if the training process does."""
    batch_size: int
    num_batches: int = 0
    """Number of batches that were timed."""
    samples_per_second: float | None = None
    """None if the loader failed."""
    failure: str | None = None
    """Its error; None if it did not fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchComparison:
    """The results of `probe batch` for several variants."""

    schema: int = SCHEMA_VERSION
    kind: Literal["batch_comparison"] = "batch_comparison"
    meta: RunMeta
    stopped_by: StoppedBy
    """`interrupted` or `error` if variants are missing; `predicted` or `nothing_fits` if all variants ended so."""
    task: str
    optimizer: str
    variants: tuple[Variant, ...]
    """The variants in the given order; image sizes vary slowest."""
    loader: tuple[LoaderSpeed, ...] = ()
    """Speed of the data loader, only with `--variants`; empty if no samples are loaded because they are tensors, or made on
    the device."""
    seconds: float
