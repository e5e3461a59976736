"""Prediction without the device: fake traces of the training step, fitted, so that any batch size can be asked for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from probe.batch.fit import Fit, NotAlikeError, fit
from probe.batch.profile import Profile, Target, Untraceable
from probe.task import Task
from probe.workers.worker import Worker, WorkerDied
from probe.zoo.source import TaskSource, as_source

MICRO_BATCHES = (4, 8, 16)
"""Samples that the model sees at once in the traces: two that are fitted, and the beginning of one that checks the fit."""
_NUM_STEPS = 2
"""The optimizer's state appears in the first step, and is there from the second on."""
_MAX_TRACED_ACCUMULATION = 3
"""From the third micro-batch on every one is like the one before."""

_UNSEEN: dict[Target, tuple[str, ...]] = {
    "cuda": (
        "operators run as on the CPU: attention and dropout may keep more than CUDA's fused operators do",
        "scratch memory inside operators; of cuDNN's there is an allowance",
        "the context and the workspaces where they are assumed, not measured",
    ),
    "simulated": ("scratch memory inside operators",),
}


def predict(
    task: Task | TaskSource,
    *,
    params: Mapping[str, Any] | None = None,
    target: Target = "cuda",
    seed: int = 0,
    in_process: bool = False,
) -> Profile | Untraceable:
    """What training `task` takes of memory, as a function of the batch size.

    Args:
        params: hyperparameters: the trainer's (optimizer, precision, accumulation, ...) and the task's own.
        target: whose allocations are predicted. `cuda`: a GPU's, as far as operators on fakes of the CPU tell them;
            `simulated`: SimulatedDevice's, byte for byte.
        in_process: trace in this process. A crash of PyTorch, which fake tensors have caused, then takes it along.

    Raises:
        TaskError, DataError, UserCodeError: the task cannot be built or breaks its contract.
    """
    arguments = (as_source(task), dict(params or {}), target, seed)
    if in_process:
        return trace_profile(*arguments)
    with Worker(num_threads=1) as worker:
        try:
            found: Profile | Untraceable = worker.call(trace_profile, *arguments)
        except WorkerDied as death:
            return Untraceable(reason=f"the process that traced the model died: {death.message.splitlines()[0]}")
    return found


def trace_profile(source: TaskSource, params: Mapping[str, Any], target: Target, seed: int) -> Profile | Untraceable:
    """`predict` in this process. Raises as it does."""
    from probe.training.settings import TrainerSettings, task_params

    task = source.build(task_params(source, params))
    trainer = {name: value for name, value in params.items() if name != "batch_size"}
    return profile_of(task, TrainerSettings.for_task(task, trainer), target=target, seed=seed)


def profile_of(task: Task, settings: Any, *, target: Target = "cuda", seed: int = 0) -> Profile | Untraceable:
    """As `predict`, for a task that is built: where the caller is a child process already. `settings`: TrainerSettings."""
    from probe.batch.recorder import UntraceableError
    from probe.batch.samples import dataset_bytes, sample_batches
    from probe.batch.trace import Traced, trace_run
    from probe.training.batches import MAX_RESIDENT_SHARE
    from probe.training.data import with_tensors

    started = time.perf_counter()
    task = with_tensors(task)
    accumulation = min(settings.accumulation, _MAX_TRACED_ACCUMULATION)
    sizes = [micro_batch * accumulation for micro_batch in MICRO_BATCHES]
    batches = sample_batches(task, sizes)

    def traced_at(size: int, num_steps: int) -> Traced:
        return trace_run(
            task,
            replace(settings, batch_size=size, accumulation=accumulation),
            batches[size],
            micro_batch=size // accumulation,
            num_steps=num_steps,
            as_cuda=target == "cuda",
            seed=seed,
        )

    try:
        first, second = (traced_at(size, _NUM_STEPS) for size in sizes[:2])
        fitted = fit(first.trace, second.trace, traced_at(sizes[2], 0).trace)
        if fitted.bends:  # then all of the third trace is needed
            fitted = fit(first.trace, second.trace, traced_at(sizes[2], _NUM_STEPS).trace)
    except (UntraceableError, NotAlikeError) as error:
        return Untraceable(reason=str(error))
    return Profile(
        target=target,
        fit=fitted,
        accumulation=settings.accumulation,
        traced_accumulation=accumulation,
        dataset_bytes=dataset_bytes(task) if target == "cuda" else 0,
        max_dataset_share=MAX_RESIDENT_SHARE,
        uses_convolutions=first.uses_convolutions,
        uses_matrix_products=first.uses_matrix_products,
        traced_as="fake cpu",
        unseen=_unseen(target, first.eval_failure, fitted),
        seconds=time.perf_counter() - started,
    )


def _unseen(target: Target, eval_failure: str | None, fitted: Fit) -> tuple[str, ...]:
    unseen = list(_UNSEEN[target])
    if eval_failure is not None:
        unseen.append(f"the evaluation step, which cannot be traced ({eval_failure})")
    if fitted.bends:
        unseen.append(
            f"{len(fitted.bends)} of {len(fitted.sizes)} allocations that do not grow in proportion to the batch: "
            "a parabola through three traces takes the line's place"
        )
    return tuple(unseen)
