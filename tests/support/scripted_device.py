"""A scripted device for attempts without training: it takes p + q * batch_size bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from probe.batch.context import ProbeInfo
from probe.batch.decide import Limits, NextAttempt, floor_power_of_two, most_samples, next_attempt
from probe.batch.prediction.allocation_model import AllocationModel, Kind, Trace
from probe.batch.prediction.memory_model import MemoryModel, Untraceable
from probe.batch.prediction.predict import TargetGpus
from probe.batch.records import Attempt, Outcome
from probe.device.select import DeviceSpec
from probe.errors import ProbeError
from probe.records import MemoryReading, RunMeta

META = RunMeta(
    probe_version="0",
    python_version="3",
    torch_version="2",
    cuda_version=None,
    driver_version=None,
    platform="test",
    device="scripted",
    num_threads=1,
    seed=0,
    argv=(),
    recipe_hash=None,
    started_at="2026-01-01T00:00:00+00:00",
)


@dataclass(frozen=True, kw_only=True)
class ScriptedDevice:
    fixed_bytes: int = 0
    bytes_per_sample: int = 1
    limit_bytes: int = 1000
    kernel_limit: int | None = None
    """Largest size that does not fail with `kernel_limit`."""
    failures: dict[int, Outcome] = field(default_factory=dict)
    """Outcomes of sizes that fail regardless of memory."""
    traceback: str | None = None
    """Traceback of every failure."""
    fails_confirmation: frozenset[int] = frozenset()
    step_seconds: Callable[[int], float] = lambda size: 0.01 + 0.001 * size
    samples_of: Callable[[int], int] = most_samples
    """Batch size -> number of training samples in an attempt."""

    def attempt(self, upcoming: NextAttempt) -> Attempt:
        size = upcoming.batch_size
        peak = self.fixed_bytes + self.bytes_per_sample * size
        outcome: Outcome = "fits" if peak <= self.limit_bytes else "oom"
        if self.kernel_limit is not None and size > self.kernel_limit:
            outcome = "kernel_limit"
        if upcoming.purpose == "confirm" and size in self.fails_confirmation:
            outcome = "thrashes"
        outcome = self.failures.get(size, outcome)
        memory = MemoryReading(peak_allocated_bytes=peak, peak_reserved_bytes=peak)
        if outcome != "fits":
            return Attempt(
                batch_size=size,
                purpose=upcoming.purpose,
                outcome=outcome,
                memory=memory,
                num_samples=self.samples_of(size),
                message="scripted",
                traceback=self.traceback,
            )
        seconds = self.step_seconds(size)
        return Attempt(
            batch_size=size,
            purpose=upcoming.purpose,
            outcome="fits",
            num_steps=50 if upcoming.purpose == "confirm" else 10,
            step_seconds=seconds,
            samples_per_second=size / seconds,
            memory=memory,
            num_samples=self.samples_of(size),
        )

    def fits(self, size: int) -> bool:
        return self.attempt(NextAttempt(size, "size")).fits

    def sweep(self, limits: Limits, *, most: int = 200) -> list[Attempt]:
        attempts: list[Attempt] = []
        while (upcoming := next_attempt(attempts, limits)) is not None:
            attempts.append(self.attempt(upcoming))
            assert len(attempts) <= most, "the sweep does not end"
        return attempts

    def exhaustive(self, limits: Limits, *, most: int = 2**24) -> int | None:
        """Return the largest power of two within the limits that fits, by trying all of them."""
        top = floor_power_of_two(most if limits.bound is None else limits.bound)
        sizes = [1 << exponent for exponent in range(top.bit_length())]
        return max((size for size in sizes if self.fits(size)), default=None)


@dataclass
class ScriptedRunner:
    """An AttemptRunner over a ScriptedDevice that records the requested attempts."""

    device: ScriptedDevice
    num_samples: int | None = None
    task_batch_size: int | None = None
    raises: dict[int, BaseException] = field(default_factory=dict)
    """Attempt number (from 0) -> exception that it raises."""
    found: MemoryModel | Untraceable = field(default_factory=lambda: Untraceable(reason="scripted"))
    """The memory model for predictions."""
    device_problem: str | None = None
    gpu_bytes: int | None = None
    """Memory of the GPU to predict for."""
    requested: list[NextAttempt] = field(default_factory=list)
    timeouts: list[float | None] = field(default_factory=list)
    closed: bool = False

    def open(self) -> ProbeInfo:
        return ProbeInfo(
            meta=META,
            device=DeviceSpec(kind="cpu", limit_bytes=self.gpu_bytes, resolved=True),
            device_problem=self.device_problem,
            limit_bytes=self.device.limit_bytes if self.device_problem is None else None,
            num_samples=self.num_samples,
            task_batch_size=self.task_batch_size,
            optimizer="adamw",
            precision="fp32",
        )

    def build_memory_model(self, gpus: TargetGpus) -> MemoryModel | Untraceable:
        return self.found

    def run(self, upcoming: NextAttempt, timeout_seconds: float | None = None) -> Attempt:
        number = len(self.requested)
        self.requested.append(upcoming)
        self.timeouts.append(timeout_seconds)
        if number in self.raises:
            raise self.raises[number]
        return self.device.attempt(upcoming)

    def close(self) -> None:
        self.closed = True


def task_error(message: str) -> ProbeError:
    from probe.errors import UserCodeError

    return UserCodeError(message, traceback="Traceback: theirs")


def line_model(*, fixed_bytes: int, bytes_per_sample: int) -> MemoryModel:
    """Return the memory model of a ScriptedDevice."""
    kinds: tuple[Kind, ...] = ("weights", "activations")

    def trace(micro_batch: int) -> Trace:
        sizes = (fixed_bytes, bytes_per_sample * micro_batch)
        return Trace(micro_batch=micro_batch, sizes=sizes, kinds=kinds, order=(1, 2, -2), num_training=2)

    return MemoryModel(
        target="simulated",
        allocation_model=AllocationModel(traces=(trace(4), trace(8), trace(16))),
        gradient_accumulation=1,
        traced_gradient_accumulation=1,
        dataset_bytes=0,
        max_dataset_fraction=0.5,
        uses_convolutions=False,
        uses_matrix_products=True,
        traced_as="fake cpu",
        unseen=("nothing",),
        seconds=0.1,
    )
