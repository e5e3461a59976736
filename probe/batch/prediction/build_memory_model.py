"""Build a memory model: trace the training step on fake tensors at the batch sizes that matter."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from probe.batch.prediction.allocation_model import AllocationModel
from probe.batch.prediction.memory_model import MemoryModel, Target, Untraceable
from probe.batch.prediction.predict import TargetGpus, next_size_to_trace
from probe.batch.prediction_records import TraceCheck
from probe.batch.sample_ranking import SampleRanking
from probe.errors import first_line
from probe.task import Task
from probe.tasks.source import TaskSource, as_source
from probe.workers.death import WorkerDied
from probe.workers.worker import Worker

if TYPE_CHECKING:
    from probe.batch.prediction.tracer import Tracer
    from probe.training.settings import TrainerSettings

MICRO_BATCHES = (4, 8)
MAX_TRACES = 12

_UNSEEN: dict[Target, tuple[str, ...]] = {
    "gpu": (
        "scratch memory inside operators, except for reductions; there is an allowance for cuDNN's",
        "the context and the workspaces if they are assumed, not measured",
    ),
    "simulated": ("scratch memory inside operators",),
}


def build_memory_model(
    task: Task | TaskSource,
    *,
    params: Mapping[str, Any] | None = None,
    target: Target = "gpu",
    gpus: TargetGpus | None = None,
    seed: int = 0,
    in_process: bool = False,
) -> MemoryModel | Untraceable:
    """Build the memory model of training `task`, in a child process unless `in_process`: fake tensors have crashed PyTorch
    before. The largest batches of `gpus` (by default common ones) are traced themselves."""
    arguments = (as_source(task), dict(params or {}), target, gpus, seed)
    if in_process:
        return build_in_process(*arguments)
    with Worker(num_threads=1) as worker:
        try:
            model: MemoryModel | Untraceable = worker.call(build_in_process, *arguments)
        except WorkerDied as death:
            return lost_trace(death)
    return model


def lost_trace(death: WorkerDied) -> Untraceable:
    """Return the reason for a missing memory model after the tracing process died."""
    return Untraceable(reason=f"the process that traced the model died: {first_line(death)}")


def build_in_process(
    source: TaskSource, params: Mapping[str, Any], target: Target, gpus: TargetGpus | None, seed: int
) -> MemoryModel | Untraceable:
    """Build the memory model in this process. Raises as `build_memory_model`."""
    from probe.training.building import build_task
    from probe.training.settings import TrainerSettings

    task = build_task(source, params)
    trainer = {name: value for name, value in params.items() if name != "batch_size"}
    return build_for_task(task, TrainerSettings.for_task(task, trainer), target=target, gpus=gpus, seed=seed)


def build_for_task(
    task: Task,
    settings: TrainerSettings,
    *,
    target: Target = "gpu",
    gpus: TargetGpus | None = None,
    seed: int = 0,
    rankings: Sequence[SampleRanking] = (),
) -> MemoryModel | Untraceable:
    """Build the memory model of a task that is built already, in this process."""
    from probe.batch.prediction.recorder import UntraceableError
    from probe.batch.prediction.tracer import Tracer
    from probe.batch.task_samples import rank_samples
    from probe.loading.dataset import is_unbounded, num_samples, tensor_bytes
    from probe.loading.epoch_batches import MAX_RESIDENT_FRACTION

    if settings.compile:
        return Untraceable(reason="compile is true, and a compiled model does not run the operators that are traced")
    started = time.perf_counter()
    gpus = gpus or TargetGpus()
    if not is_unbounded(task.train):
        gpus = replace(gpus, bound=min(gpus.max_batch_size, num_samples(task.train)))
    rankings = rankings or rank_samples(task, seed=seed)
    tracer = Tracer(task, settings, target=target, seed=seed, rankings=rankings)
    try:
        first, second = (tracer.trace(size) for size in MICRO_BATCHES)
    except UntraceableError as error:
        return Untraceable(reason=str(error))
    model = MemoryModel(
        target=target,
        allocation_model=AllocationModel(traces=(first.trace, second.trace)),
        gradient_accumulation=settings.gradient_accumulation,
        traced_gradient_accumulation=tracer.gradient_accumulation,
        dataset_bytes=tensor_bytes(task) if target == "gpu" else 0,
        max_dataset_fraction=MAX_RESIDENT_FRACTION,
        uses_convolutions=first.uses_convolutions,
        uses_matrix_products=first.uses_matrix_products,
        traced_as="fake cpu",
        unseen=(),
        seconds=0.0,
    )
    model, failure = _with_checks(model, tracer, gpus)
    unseen = (*_UNSEEN[target], *tracer.notes(), *([] if failure is None else [failure]))
    return replace(model, unseen=unseen, seconds=time.perf_counter() - started)


def _with_checks(model: MemoryModel, tracer: Tracer, gpus: TargetGpus) -> tuple[MemoryModel, str | None]:
    """Add traces of the sizes that matter to the model. Return also why some of them could not be traced. The size predicted to
    fit on the largest GPU is always traced. If its trace disagrees with the prediction, the sizes for the other GPUs and the
    next larger ones are traced too, until most traces agree."""
    from probe.batch.prediction.recorder import UntraceableError

    failed: dict[int, str] = {}
    while len(model.allocation_model.traces) + len(failed) < MAX_TRACES:
        num_agreeing = sum(check.agrees for check in model.checks)
        is_reliable = num_agreeing > len(model.checks) - num_agreeing
        size = next_size_to_trace(model, gpus, excluded=failed, only_largest=is_reliable)
        if size is None:
            break
        try:
            traced = tracer.trace(model.micro_batch(size))
        except UntraceableError as error:
            failed[size] = str(error)
            continue
        expected_bytes = model.live_peak_bytes(size)
        model = replace(model, allocation_model=model.allocation_model.with_trace(traced.trace))
        check = TraceCheck(batch_size=size, expected_bytes=expected_bytes, traced_bytes=model.live_peak_bytes(size))
        model = replace(model, checks=(*model.checks, check))
    reason = "; ".join(
        f"batch size {size:,}, at which the training step cannot be traced ({why})" for size, why in failed.items()
    )
    return model, reason or None
