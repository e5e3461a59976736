"""What a search needs of an executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from probe.search.jobs.jobs import JobEvent, RungJob
from probe.search.records.cluster import ClusterUse

Location = Literal["any", "beside", "alone", "host", "every_gpu", "every_machine"]
"""Where `SearchExecutor.run` runs a function.

any: in a free slot.
beside: without waiting for running jobs; the function must not use a GPU.
alone: in a new process, on all cores of a machine. Only while no job runs.
host: on the machine of a slot, but not in a worker: for a function that starts worker processes itself. It is called with the
    keyword `observer` and reports its progress to that.
every_gpu: once on each GPU of this machine that the executor uses; on a cluster, as `any`. Only while no job runs.
every_machine: once on every machine, first on one of them and then on the others. Machines that join later run the function
    before they get a job, and get none if their answer differs from that of the first machine.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What an executor has for its jobs at the moment."""

    num_cores: int = 1
    """CPU cores for a function that runs `alone`."""
    slots_by_gpu: tuple[int, ...] = ()
    """Number of slots on each GPU of this machine; empty if the executor places the jobs itself."""
    idle_by_gpu: tuple[int, ...] = ()
    """Number of idle worker processes of each GPU. Each of them holds a context on its GPU."""
    held_by_gpu: tuple[int, ...] = ()
    """Memory that idle workers hold on each GPU besides their contexts."""
    offered_by_gpu: tuple[int | None, ...] = ()
    """Memory of each GPU that other programs left free when a worker last opened it while no other worker existed there; None
    if that has not happened."""
    shared_gpu_bytes: int | None = None
    """Memory of the smallest GPU, if the executor places several jobs on one GPU by their `peak_bytes`; otherwise None."""
    cluster: ClusterUse | None = None
    """The cluster that the jobs run on; None on a single machine without Ray."""


class Executor(Protocol):
    """Runs one job per slot. Implementations pass the suite in tests/support/executor_conformance.py."""

    @property
    def num_slots(self) -> int: ...

    def submit(self, job: RungJob) -> None:
        """Start a job in a free slot, on the job's GPU if it names one. Raises RuntimeError if all slots are taken."""

    def poll(self, timeout_seconds: float) -> list[JobEvent]:
        """Events since the last call, in order for each job. Waits up to `timeout_seconds` for the first one.

        Every job ends with exactly one JobEnd, after the events of all its epochs.
        """

    def places(self) -> Mapping[int, str]:
        """Trial number -> GPU (`cuda:1`) or node that its job runs on. Empty if all jobs run in the same place."""

    def cancel(self) -> None:
        """Stop all running jobs now, without further events."""

    def close(self) -> None:
        """Stop all jobs and worker processes."""


class SearchExecutor(Executor, Protocol):
    """An executor that also runs the functions of the other stages of a search."""

    @property
    def resources(self) -> Resources: ...

    def close_idle(self) -> None:
        """End the worker processes without a job, each of which may hold memory of a GPU."""

    def run(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        on: Location = "any",
        on_message: Callable[[Any], None] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run a function and wait for its result; for `every_gpu` and `every_machine`, a list of results.

        Args:
            function: any function that can be pickled, with its arguments.
            on: where it runs.
            on_message: called with each message that the function sends.

        Raises:
            ProbeError: the error of the function, as UserCodeError if it is not one of probe's own.
            WorkerDied, TaskLostError: its process died.
        """
