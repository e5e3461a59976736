"""Predict the largest batch for each GPU from a memory model, and find measurements that contradict it. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field

from probe.batch.prediction.memory_model import FixedCosts, MemoryModel, SimulationResult, Target, Untraceable
from probe.batch.prediction_records import Contradiction, ContradictionKind, PredictedPeak, Prediction, PredictionInfo
from probe.batch.records import Attempt, Outcome
from probe.units import format_percent

COMMON_GPU_BYTES = tuple(size * 2**30 for size in (8, 12, 16, 24, 40, 48, 80, 141))
USABLE_FRACTION = 0.97
"""Fraction of a GPU's nominal memory that is usable. CUDA reports 7.79 GiB of an RTX 3070's 8, 11.8 of an RTX 3060's 12, 23.7
of an RTX 3090's 24, and 79.2 of an A100's 80. With error correction, as on a T4 or an L40S, it is 92 %."""
MAX_BATCH_SIZE = 2**30
CHECKED_MICRO_BATCH = 16
"""Micro-batch to trace if no GPU's largest batch can be traced: no GPU is known, or the data set is too small."""
MAX_STEP = 1024
"""Largest ratio of the next traced batch size to the largest one so far; predictions further away are too uncertain."""
NOTABLE_ERROR = 0.1
"""Relative error of a predicted peak from which on it is reported as a contradiction."""
_MEMORY_FAILURES: frozenset[Outcome] = frozenset({"oom", "oom_in_eval", "thrashes", "spills"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetGpus:
    """The GPUs, or the one simulated device, to predict for."""

    memory_bytes: tuple[int, ...] = COMMON_GPU_BYTES
    usable_fraction: float = 1.0
    """Usable fraction of each size; below 1 if the sizes are nominal."""
    size_bytes: int | None = None
    """Size of the one GPU of which `memory_bytes` is free; the loader keeps data on it according to this size. None if all is
    free."""
    bound: int | None = None
    """Largest batch size to consider, like the number of training samples."""
    costs: FixedCosts | None = None
    """Measured fixed costs; None to assume them."""

    @property
    def max_batch_size(self) -> int:
        return MAX_BATCH_SIZE if self.bound is None else min(self.bound, MAX_BATCH_SIZE)

    def costs_of(self, gpu_bytes: int, target: Target) -> FixedCosts:
        return FixedCosts.none() if target == "simulated" else self.costs or FixedCosts.assumed(gpu_bytes)


@dataclass(frozen=True, slots=True)
class _Simulations:
    """Simulations; each batch size is simulated once for GPUs that have the same fixed costs and more memory than it takes."""

    model: MemoryModel
    gpus: TargetGpus
    known: dict[tuple[int, int, FixedCosts, int | None], SimulationResult] = field(default_factory=dict)

    def fixed(self, gpu_bytes: int) -> tuple[int, FixedCosts]:
        """Return the bytes of the data set on this GPU, and its fixed costs."""
        return self.model.resident_bytes(self.gpus.size_bytes or gpu_bytes), self.gpus.costs_of(
            gpu_bytes, self.model.target
        )

    def at(self, batch_size: int, gpu_bytes: int, *, limit_bytes: int | None = None) -> SimulationResult:
        """Simulate a GPU whose memory is unlimited, or limited to `limit_bytes`."""
        resident_bytes, costs = self.fixed(gpu_bytes)
        key = (batch_size, resident_bytes, costs, limit_bytes)
        if key not in self.known:
            self.known[key] = self.model.simulate(batch_size, limit_bytes, costs=costs, resident_bytes=resident_bytes)
        return self.known[key]

    def on(self, batch_size: int, gpu_bytes: int) -> SimulationResult:
        """Simulate a GPU with the usable part of its memory."""
        usable_bytes = int(self.gpus.usable_fraction * gpu_bytes)
        unlimited = self.at(batch_size, gpu_bytes)
        if unlimited.peak_bytes <= usable_bytes:
            return unlimited
        return self.at(batch_size, gpu_bytes, limit_bytes=usable_bytes)

    def largest_fit(self, gpu_bytes: int) -> int | None:
        resident_bytes, costs = self.fixed(gpu_bytes)
        fixed_bytes = costs.context_bytes + self.model.workspace_bytes(costs) + resident_bytes
        usable_bytes = int(self.gpus.usable_fraction * gpu_bytes)
        largest: int | None = None
        size = 1
        # The sum of live tensors is a lower bound that is cheaper than a simulation.
        while size <= self.gpus.max_batch_size and self.model.live_peak_bytes(size) + fixed_bytes <= usable_bytes:
            if self.on(size, gpu_bytes).outcome == "fits":
                largest = size
            size *= 2
        return largest

    def prediction(self, gpu_bytes: int) -> Prediction:
        resident_bytes, costs = self.fixed(gpu_bytes)
        largest = self.largest_fit(gpu_bytes)
        simulation = self.at(1, gpu_bytes) if largest is None else self.on(largest, gpu_bytes)
        return Prediction(
            memory_bytes=gpu_bytes,
            largest_fit=largest,
            peak_bytes=simulation.peak_bytes,
            allocated_bytes=simulation.peak_allocated_bytes,
            is_traced=self.model.is_traced(largest or 1),
            breakdown=self.model.breakdown(largest or 1, simulation, costs=costs, resident_bytes=resident_bytes),
        )

    def curve(self, predictions: tuple[Prediction, ...]) -> tuple[PredictedPeak, ...]:
        """Return the peaks on the smallest GPU, up to one size beyond the largest fit on any GPU."""
        if not predictions:
            return ()
        largest = max(prediction.largest_fit or 1 for prediction in predictions)
        points = []
        for size in (1 << exponent for exponent in range((2 * largest).bit_length())):
            found = self.at(size, min(self.gpus.memory_bytes))
            points.append(
                PredictedPeak(batch_size=size, allocated_bytes=found.peak_allocated_bytes, peak_bytes=found.peak_bytes)
            )
        return tuple(points)


def predict_batch_sizes(
    model: MemoryModel | Untraceable, gpus: TargetGpus | None = None
) -> tuple[PredictionInfo, tuple[Prediction, ...]]:
    """Predict for each GPU the largest power of two that fits, with an allocator that keeps its cache in steady steps, and its
    memory. There are no predictions if the task could not be traced."""
    if isinstance(model, Untraceable):
        return PredictionInfo(traced_as=None, failure=model.reason), ()
    gpus = gpus or TargetGpus()
    simulations = _Simulations(model, gpus)
    predictions = tuple(map(simulations.prediction, gpus.memory_bytes))
    fraction = format_percent(gpus.usable_fraction, decimals=0)
    nominal = f"{fraction} of a GPU's nominal memory are assumed to be usable; with ECC it may be less"
    return PredictionInfo(
        traced_as=model.traced_as,
        unseen=(*model.unseen, nominal) if gpus.usable_fraction < 1 else model.unseen,
        checks=model.checks,
        curve=simulations.curve(predictions),
        seconds=model.seconds,
    ), predictions


def next_size_to_trace(
    model: MemoryModel, gpus: TargetGpus, *, excluded: Container[int] = (), only_largest: bool = False
) -> int | None:
    """Return the batch size whose trace improves the predictions most, or None if all relevant sizes are traced. These are the
    size predicted to fit on the largest GPU, then the sizes for the other GPUs, then the next power of two above each of them.
    `excluded` sizes cannot be traced."""
    simulations = _Simulations(model, gpus)
    furthest = (
        MAX_STEP * max(trace.micro_batch for trace in model.allocation_model.traces) * model.gradient_accumulation
    )
    fitting = []
    for gpu_bytes in sorted(gpus.memory_bytes, reverse=True)[: 1 if only_largest else None]:
        size = min(simulations.largest_fit(gpu_bytes) or 1, furthest)
        if size not in excluded and not model.is_traced(size):
            return size
        fitting.append(size)
    if only_largest:
        return None
    too_large = [2 * size for size in fitting if 2 * size <= gpus.max_batch_size] or [
        CHECKED_MICRO_BATCH * model.gradient_accumulation
    ]
    return next((size for size in too_large if size not in excluded and not model.is_traced(size)), None)


def contradictions(
    attempts: Sequence[Attempt], info: PredictionInfo | None, prediction: Prediction | None
) -> tuple[Contradiction, ...]:
    """Return the measurements that contradict the prediction for their device, at most one of each kind: the largest size that
    fits and the smallest that does not, against the prediction, and the peak with the largest error above NOTABLE_ERROR."""
    if info is None or prediction is None:
        return ()
    predicted = {point.batch_size: point.allocated_bytes for point in info.curve}
    largest = prediction.largest_fit or 0
    found: list[Contradiction] = []
    fitting = [attempt for attempt in attempts if attempt.fits and attempt.batch_size > largest]
    if fitting:
        found.append(_contradiction(max(fitting, key=_size), "fits", predicted))
    failing = [one for one in attempts if one.outcome in _MEMORY_FAILURES and one.batch_size <= largest]
    if failing:
        found.append(_contradiction(min(failing, key=_size), "does not fit", predicted))
    worst = max(_peaks(attempts, predicted), key=lambda peak: abs(peak.error or 0.0), default=None)
    if worst is not None and abs(worst.error or 0.0) > NOTABLE_ERROR:
        found.append(worst)
    return tuple(found)


def _peaks(attempts: Sequence[Attempt], predicted: dict[int, int]) -> Iterator[Contradiction]:
    for attempt in attempts:
        if not attempt.fits or attempt.memory is None or attempt.batch_size not in predicted:
            continue
        is_more = attempt.memory.peak_allocated_bytes > predicted[attempt.batch_size]
        # A confirming attempt uses shuffled batches, which rarely take as much memory as the largest samples.
        if attempt.purpose != "confirm" or is_more:
            yield _contradiction(attempt, "peak", predicted)


def _contradiction(attempt: Attempt, kind: ContradictionKind, predicted: dict[int, int]) -> Contradiction:
    return Contradiction(
        kind=kind,
        batch_size=attempt.batch_size,
        predicted_bytes=predicted.get(attempt.batch_size),
        measured_bytes=attempt.memory.peak_allocated_bytes if attempt.fits and attempt.memory is not None else None,
    )


def _size(attempt: Attempt) -> int:
    return attempt.batch_size
