"""What a search needs to know of its task before the first trial, found out by a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from probe.errors import DataError
from probe.loading.records import SPLIT_NAMES, DataReference, Overlap
from probe.search.jobs.jobs import ValidationSplit
from probe.search.records.search import ParamValue
from probe.task import Task
from probe.tasks.code_hashes import code_hashes
from probe.tasks.source import TargetSource, TaskSource


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInfo:
    """What the search needs to know of a task before its first trial."""

    num_train: int
    """Without the validation part."""
    num_val: int
    num_test: int | None
    metrics: tuple[str, ...]
    optimizer: str | None
    """The task's own; None: a callable."""
    reached: tuple[str, ...] = ("lr",)
    """Which of lr, momentum and weight_decay the task's own optimizer uses."""
    batch_size: int
    """The task's own."""
    num_params: int | None = None
    """Trainable parameters of its model; None where none could be made without a trial's hyperparameters."""
    reference: DataReference | None = None
    """Its data, to be recognized by."""
    overlaps: tuple[Overlap, ...] = ()
    """Pairs of its parts that share a few samples."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Source file -> hash of its code, of the user's own modules."""
    edited: tuple[str, ...] = ()
    """Those that were edited while the search was stopped, which was allowed."""
    proportions: tuple[str, ...] = ()
    """Those of the metrics that are shares of samples."""


def describe_task(source: TaskSource, split: ValidationSplit, params: Mapping[str, ParamValue]) -> TaskInfo:
    """Build the task and look at it. In a worker: it imports torch, loads the data and runs the user's code.

    It is built twice, to see whether the data are the same each time.

    Raises:
        TaskError, UserCodeError: the task cannot be built.
        DataError: parts of its data share their samples. ChangedDataError: the second build has other samples.
    """
    from probe.loading.dataset import num_samples
    from probe.search.jobs.trial import split_task
    from probe.training.building import build_task, check_splits, data_reference
    from probe.training.metrics import proportions
    from probe.training.optim.reached_hyperparameters import reached

    reference = data_reference(source, params)
    whole = build_task(source, params)
    overlaps = check_splits(whole)
    task = split_task(whole, split)
    return TaskInfo(
        num_train=num_samples(task.train),
        num_val=num_samples(task.val),
        num_test=None if task.test is None else num_samples(task.test),
        metrics=tuple(task.metrics),
        optimizer=task.optimizer if isinstance(task.optimizer, str) else None,
        reached=reached(task, source, params),
        batch_size=task.batch_size,
        num_params=_num_params(task),
        reference=reference,
        overlaps=overlaps,
        code=code_hashes(source.target) if isinstance(source, TargetSource) else {},
        proportions=proportions(task.metrics),
    )


def _num_params(task: Task) -> int | None:
    try:
        return int(sum(weight.numel() for weight in task.model().parameters() if weight.requires_grad))
    except Exception:  # of the user's code: the first trial meets it too, and says more
        return None


def same_task_info(of_machines: Sequence[TaskInfo]) -> TaskInfo:
    """What all machines of a search say of its task. Raises DataError where they do not say the same."""
    first, *others = of_machines
    for other in others:
        changes = [*task_changes(first, other), *code_changes(first, other)]
        if changes:
            raise DataError(
                "\n".join(["Machines of this search see different tasks:", *(f"  {change}" for change in changes)]),
                hint="Every node needs the same data files and the same version of the task's module.",
            )
    return first


def task_changes(before: TaskInfo, now: TaskInfo) -> list[str]:
    """What differs between two looks at a task, `what: old -> new` each. What one of them did not look at is no difference."""
    counts = {
        "training samples": (before.num_train, now.num_train),
        "validation samples": (before.num_val, now.num_val),
        "test samples": (before.num_test, now.num_test),
        "metrics": (", ".join(before.metrics), ", ".join(now.metrics)),
        "the task's optimizer": (before.optimizer, now.optimizer),
        "the task's batch size": (before.batch_size, now.batch_size),
    }
    if before.num_params is not None and now.num_params is not None:
        counts["trainable parameters"] = (before.num_params, now.num_params)
    changes = [f"{what}: {_shown(old)} -> {_shown(new)}" for what, (old, new) in counts.items() if old != new]
    if before.reference is not None and now.reference is not None:
        old_prints, new_prints = before.reference.fingerprints, now.reference.fingerprints
        for part, title in SPLIT_NAMES.items():
            if part in old_prints and part in new_prints and old_prints[part] != new_prints[part]:
                changes.append(f"{title} data: other samples, or in another order")
    return changes


def code_changes(before: TaskInfo, now: TaskInfo) -> list[str]:
    """The source files that differ, `slow.py: edited` each. One that is only there now is imported by one that was edited."""
    return [f"{file}: edited" for file in before.code if now.code.get(file, before.code[file]) != before.code[file]]


def _shown(value: int | str | None) -> str:
    return "none" if value is None else str(value)
