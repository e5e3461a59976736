"""A GPU's memory shared out among trials by what each is predicted to take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from probe.batch.profile import FixedCosts, Untraceable
from probe.errors import ProbeError
from probe.search.executors import LocalExecutor
from probe.search.facts import TaskFacts, device_limit
from probe.search.findings import Setup
from probe.search.records import ParamValue
from probe.search.slots import has_room
from probe.search.state import Trial
from probe.zoo.source import TaskSource

Predict = Callable[[Trial], int | None]


class Room:
    """Says of a trial whether it fits beside those that run. Every configuration is predicted once."""

    def __init__(self, limit_bytes: int, predict: Predict, *, count_idle: Callable[[], int] = lambda: 0) -> None:
        self._limit_bytes = limit_bytes
        self._predict = predict
        self._count_idle = count_idle
        self._known: dict[tuple[int, int | None], int | None] = {}

    def __call__(self, trial: Trial, running: Sequence[Trial]) -> bool:
        if not running:
            return True
        # One of the workers that wait is the one that would run the trial.
        idle_bytes = max(0, self._count_idle() - 1) * FixedCosts().context_bytes
        beside = [self._peak(other) for other in running]
        return has_room(self._peak(trial), beside=beside, idle_bytes=idle_bytes, limit_bytes=self._limit_bytes)

    def _peak(self, trial: Trial) -> int | None:
        key = (trial.number, trial.accumulation)
        if key not in self._known:
            self._known[key] = self._predict(trial)
        return self._known[key]


def make_room(setup: Setup, facts: TaskFacts, executor: LocalExecutor) -> Room | None:
    """None where trials do not share a memory that could be too small for them: on the CPU, and one at a time."""
    if setup.device.kind != "cuda" or executor.num_slots == 1:
        return None
    limit_bytes: int | None = executor.call(device_limit, setup.device)
    if limit_bytes is None:
        return None

    def predict(trial: Trial) -> int | None:
        split = {} if trial.accumulation is None else {"accumulation": trial.accumulation}
        params = {**trial.params, **split}
        batch_size = int(params.get("batch_size", facts.batch_size))
        try:  # there is a free slot wherever somebody asks, and its worker has PyTorch loaded
            peak: int | None = executor.call(predicted_peak, setup.source, params, batch_size, limit_bytes)
        except ProbeError:  # the trial itself will say it better
            return None
        return peak

    return Room(limit_bytes, predict, count_idle=lambda: executor.num_idle)


def predicted_peak(
    source: TaskSource, params: Mapping[str, ParamValue], batch_size: int, limit_bytes: int
) -> int | None:
    """Bytes of the card that training with `params` takes at most, the process's context included; None where the training
    step cannot be traced. In a worker: tracing has crashed PyTorch before. Raises what the task's own code raises."""
    from probe.batch.predict import predict

    found = predict(source, params=dict(params), in_process=True)
    if isinstance(found, Untraceable):
        return None
    return found.replay(batch_size, costs=FixedCosts.assumed(limit_bytes)).peak_bytes
