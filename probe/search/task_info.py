"""What a search has to know about its task before the first trial, measured in a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from probe.errors import DataError, Infeasible
from probe.loading.records import SPLIT_NAMES, DataReference, Overlap, ValidationSplit
from probe.search.records.search import ParamValue
from probe.search.space.space import Params
from probe.task import Task
from probe.tasks.source import TargetSource, TaskSource
from probe.tasks.target import code_hashes

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInfo:
    """The properties of a task that a search depends on."""

    num_train: int
    """Number of training samples, without the validation split."""
    num_val: int
    num_test: int | None
    metrics: tuple[str, ...]
    optimizer: str | None
    """Name of the task's own optimizer; None if it is a callable."""
    reached: tuple[str, ...] = ("lr",)
    """Which of lr, momentum, weight_decay and fused the task's own optimizer uses."""
    batch_size: int
    num_params: int | None = None
    """Number of trainable parameters; None if the model cannot be built without the hyperparameters of a trial."""
    reference: DataReference | None = None
    overlaps: tuple[Overlap, ...] = ()
    """Pairs of splits that share a few samples."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Source file -> hash of its code, for the user's own modules."""
    edited: tuple[str, ...] = ()
    """Source files that were edited while the search was stopped, with permission."""
    proportions: tuple[str, ...] = ()
    """Metrics that are proportions of samples, like accuracy."""


def describe_task(source: TaskSource, split: ValidationSplit, params: Mapping[str, ParamValue]) -> TaskInfo:
    """Build a task, twice to check that its data are the same, and collect its properties. Runs in a worker: it imports
    torch, loads the data and runs the user's code. Raises TaskError, UserCodeError, DataError."""
    from probe.loading.dataset import num_samples
    from probe.loading.validation import split_task
    from probe.training.building import build_task, check_splits, data_reference
    from probe.training.metrics import proportions
    from probe.training.reached_hyperparameters import reached

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
    except Exception:  # raised by the user's code: the first trial will raise it again and report it in full
        return None


def same_task_info(of_machines: Sequence[TaskInfo]) -> TaskInfo:
    """Return the properties of a task that all machines of a search agree on. Raises DataError if they differ."""
    first, *others = of_machines
    for other in others:
        changes = [*task_changes(first, other), *code_changes(first, other)]
        if changes:
            raise DataError(
                "\n".join(["The nodes of this search see different tasks:", *(f"  {change}" for change in changes)]),
                hint="Every node needs the same data files and the same version of the task's module.",
            )
    return first


def task_changes(before: TaskInfo, now: TaskInfo) -> list[str]:
    """Return the differences of two tasks, each as `what: old -> new`, in properties that both of them have."""
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
    """Return the source files that were edited, each as `slow.py: edited`. New files are imported by edited ones."""
    return [f"{file}: edited" for file in before.code if now.code.get(file, before.code[file]) != before.code[file]]


def first_feasible(candidates: Sequence[Params], attempt: Callable[[Params], Answer]) -> Answer:
    """Return the first result of `attempt` that the task does not refuse. Raises Infeasible if there is none."""
    refused: Infeasible | None = None
    for params in candidates:
        try:
            return attempt(params)
        except Infeasible as error:
            refused = refused or error
    why = "" if refused is None else f", the first one because: {refused.message}"
    raise Infeasible(
        f"The task refused all {len(candidates)} configurations of the space that were tried{why}",
        hint="Narrow [space], or use `when` to declare which hyperparameters go together.",
    )


def _shown(value: int | str | None) -> str:
    return "none" if value is None else str(value)
