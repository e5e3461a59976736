"""What is told of a Ray task whose process died. No cluster is needed: the errors are Ray's own."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import ray
from rung_jobs import job

from probe.search.executors.ray.tasks import RayTask, lost_report
from probe.workers.death import Died

FULL = "Task was killed due to the node running low on memory. Memory on the node was 15.2GB / 16.0GB."


@pytest.mark.parametrize(
    ("error", "outcome", "fact"),
    [
        (ray.exceptions.OutOfMemoryError(FULL), "host_oom", "running low on memory"),
        (ray.exceptions.WorkerCrashedError(), "crashed", "died unexpectedly"),
        (ray.exceptions.NodeDiedError("The node died."), "crashed", "node died"),
    ],
)
def test_a_task_that_ray_killed_for_memory_is_told_as_such(error: Exception, outcome: str, fact: str) -> None:
    def frames() -> Iterator[object]:
        raise error
        yield

    task = RayTask(frames=frames(), job=job(), submitted=time.monotonic())
    died = task.next_event()
    assert isinstance(died, Died)
    report = lost_report(died, "a node", task)
    assert report.outcome == outcome
    assert fact in (report.message or "")
