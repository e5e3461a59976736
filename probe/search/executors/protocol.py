"""Who runs jobs: a study cannot tell one executor from another. This machine's is in `executors.py`, a cluster's in
`ray_executor.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from probe.search.jobs.final_job import FinalJob, FinalOutcome
from probe.search.jobs.jobs import JobEvent, RungJob
from probe.search.records.cluster import ClusterUse


class Executor(Protocol):
    """Runs one job a slot. Implementations pass tests/search/executor_conformance.py."""

    @property
    def num_slots(self) -> int: ...

    def submit(self, job: RungJob) -> None:
        """Start a job on a free slot, of the job's GPU where it names one. Raises RuntimeError where all are taken."""

    def poll(self, timeout_seconds: float) -> list[JobEvent]:
        """What happened since the last call, each job's events in order; waits for the first, at most that long.

        Every job ends with exactly one JobEnd, and all its epochs come before it.
        """

    def places(self) -> Mapping[int, str]:
        """Where each running job runs, by its trial's number, as a user names it: `cuda:1`. Empty where that is no question."""

    def cancel(self) -> None:
        """End all running jobs now. Nothing more is heard of them."""

    def close(self) -> None: ...


class SearchExecutor(Executor, Protocol):
    """What a search needs of an executor beside running its trials."""

    def call(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        on_message: Callable[[Any], None] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run any function where a job would run, and wait for it.

        Raises ProbeError: what the function raised, as UserCodeError where it is not one of ours, or that its process died.
        """

    def call_beside(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """As `call`, of what needs no GPU, and waits for no job that runs."""

    def call_everywhere(self, function: Callable[..., Any], /, *args: Any) -> list[Any]:
        """Run it once on every machine, on one first and then on the others, and wait for all. Machines that come later run it
        before they get a job, and get none where they answer otherwise than the first. Raises as `call`."""

    def call_each(self, function: Callable[..., Any], /, *args: Any) -> list[Any]:
        """Run it once on each GPU of this machine that is used, else where a job would run. Raises as `call`."""

    def measure(self, function: Callable[..., Any], /, *args: Any, observer: Callable[[Any], None] | None) -> Any:
        """Run `function(*args, observer=observer)`, which starts processes of its own, on the machine whose device it
        measures. Raises as `call`."""

    @property
    def cluster(self) -> ClusterUse | None:
        """What it runs on, as it is now; None: this machine."""

    @property
    def cores_alone(self) -> int:
        """Of the machine, for a job that runs alone."""

    @property
    def shared_gpu_bytes(self) -> int | None:
        """Of a GPU, where the executor shares it out among jobs by their `peak_bytes`; None where it does not."""

    @property
    def slots_by_gpu(self) -> Sequence[int]:
        """Of each GPU of this machine that is used; empty where the executor places jobs itself."""

    def num_idle(self, gpu: int = 0) -> int:
        """Processes that wait and hold a context of that GPU."""

    def fit(self, job: FinalJob, *, on_message: Callable[[Any], None] | None) -> FinalOutcome:
        """The final fit, while nothing else runs; its weights are then where the job wants them. Raises as `call`."""
