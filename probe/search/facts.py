"""What a search needs to know of its task before the first trial, found out by a worker."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from probe.device.select import DeviceSpec
from probe.errors import DataError
from probe.search.jobs import Split
from probe.search.records import ParamValue
from probe.zoo.source import TaskSource


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """What the search needs to know of a task before its first trial."""

    num_train: int
    """Without the validation part."""
    num_val: int
    num_test: int | None
    metrics: tuple[str, ...]
    optimizer: str | None
    """The task's own; None: a callable."""
    batch_size: int
    proportions: tuple[str, ...] = ()
    """Those of the metrics that are shares of samples."""


def describe_task(source: TaskSource, params: Mapping[str, ParamValue], split: Split) -> TaskFacts:
    """Build the task once and look at it. In a worker: it imports torch, loads the data and runs the user's code.

    Raises TaskError, DataError, UserCodeError.
    """
    from probe.search.trial import split_task
    from probe.training.data import num_samples
    from probe.training.metrics import proportions
    from probe.training.settings import task_params

    task = split_task(source.build(task_params(params)), split)
    return TaskFacts(
        num_train=num_samples(task.train),
        num_val=num_samples(task.val),
        num_test=None if task.test is None else num_samples(task.test),
        metrics=tuple(task.metrics),
        optimizer=task.optimizer if isinstance(task.optimizer, str) else None,
        batch_size=task.batch_size,
        proportions=proportions(task.metrics),
    )


def device_limit(spec: DeviceSpec) -> int | None:
    """Bytes that the device offers; None where nobody knows. In a worker, as `device_name`."""
    from probe.device.select import open_device

    return open_device(spec, measuring_memory=False).limit_bytes


def device_name(spec: DeviceSpec) -> str:
    """The opened device's name. In a worker: on a GPU it makes a context."""
    from probe.device.select import open_device

    return open_device(spec, measuring_memory=False).name


def same_facts(of_machines: Sequence[TaskFacts]) -> TaskFacts:
    """What all machines of a search say of its task. Raises DataError where they do not say the same."""
    first, *others = of_machines
    for other in others:
        for field in dataclasses.fields(TaskFacts):
            here, there = getattr(first, field.name), getattr(other, field.name)
            if here != there:
                raise DataError(
                    f"Machines of this search see different tasks: {field.name} is {here} on one and {there} on another.",
                    hint="Every node needs the same data files and the same version of the task's module.",
                )
    return first
