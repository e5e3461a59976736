"""Prediction without the device: fake traces of the training step, fitted, so that any batch size can be asked for."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from probe.batch.prediction.allocation_model import Fit
from probe.batch.prediction.forecast import Cards, next_size_to_trace
from probe.batch.prediction.memory_model import Profile, Target, Untraceable
from probe.batch.records import TraceCheck
from probe.batch.samples.ranking import SampleRanking
from probe.task import Task
from probe.tasks.source import TaskSource, as_source
from probe.workers.worker import Worker, WorkerDied

if TYPE_CHECKING:
    from probe.batch.prediction.tracer import Tracer
    from probe.training.settings import TrainerSettings

MICRO_BATCHES = (4, 8)
"""Samples that the model sees at once in the first traces. Further ones are made with the sizes that matter."""
MAX_TRACES = 12

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
    cards: Cards | None = None,
    seed: int = 0,
    in_process: bool = False,
) -> Profile | Untraceable:
    """What training `task` takes of memory, as a function of the batch size.

    Args:
        params: hyperparameters: the trainer's (optimizer, precision, accumulation, ...) and the task's own.
        target: whose allocations are predicted. `cuda`: a GPU's, as far as operators on fakes of the CPU tell them;
            `simulated`: SimulatedDevice's, byte for byte.
        cards: the devices in question, whose largest batches are traced themselves; None: common ones.
        in_process: trace in this process. A crash of PyTorch, which fake tensors have caused, then takes it along.

    Raises:
        TaskError, DataError, UserCodeError: the task cannot be built or breaks its contract.
    """
    arguments = (as_source(task), dict(params or {}), target, cards, seed)
    if in_process:
        return trace_profile(*arguments)
    with Worker(num_threads=1) as worker:
        try:
            found: Profile | Untraceable = worker.call(trace_profile, *arguments)
        except WorkerDied as death:
            return Untraceable(reason=f"the process that traced the model died: {death.message.splitlines()[0]}")
    return found


def trace_profile(
    source: TaskSource, params: Mapping[str, Any], target: Target, cards: Cards | None, seed: int
) -> Profile | Untraceable:
    """`predict` in this process. Raises as it does."""
    from probe.training.building import build_task
    from probe.training.settings import TrainerSettings

    task = build_task(source, params)
    trainer = {name: value for name, value in params.items() if name != "batch_size"}
    return profile_of(task, TrainerSettings.for_task(task, trainer), target=target, cards=cards, seed=seed)


def profile_of(
    task: Task,
    settings: TrainerSettings,
    *,
    target: Target = "cuda",
    cards: Cards | None = None,
    seed: int = 0,
    rankings: Sequence[SampleRanking] = (),
) -> Profile | Untraceable:
    """As `predict`, for a task that is built: where the caller is a child process already.

    Args:
        rankings: of the training and the validation samples, where they were measured before.
    """
    from probe.batch.prediction.recorder import UntraceableError
    from probe.batch.prediction.tracer import Tracer
    from probe.batch.samples.costly_batches import dataset_bytes
    from probe.batch.samples.sizing import rank_samples
    from probe.loading.dataset import is_unbounded, num_samples
    from probe.loading.epoch_batches import MAX_RESIDENT_FRACTION

    started = time.perf_counter()
    cards = cards or Cards()
    if not is_unbounded(task.train):
        cards = replace(cards, bound=min(cards.max_batch_size, num_samples(task.train)))
    rankings = rankings or rank_samples(task, seed=seed)
    tracer = Tracer(task, settings, target=target, seed=seed, rankings=rankings)
    try:
        first, second = (tracer.trace(size) for size in MICRO_BATCHES)
    except UntraceableError as error:
        return Untraceable(reason=str(error))
    profile = Profile(
        target=target,
        fit=Fit(traces=(first.trace, second.trace)),
        gradient_accumulation=settings.gradient_accumulation,
        traced_gradient_accumulation=tracer.gradient_accumulation,
        dataset_bytes=dataset_bytes(task) if target == "cuda" else 0,
        max_dataset_share=MAX_RESIDENT_FRACTION,
        uses_convolutions=first.uses_convolutions,
        uses_matrix_products=first.uses_matrix_products,
        traced_as="fake cpu",
        unseen=(),
        seconds=0.0,
    )
    profile, failure = _checked(profile, tracer, cards)
    unseen = (*_UNSEEN[target], *tracer.notes(), *([] if failure is None else [failure]))
    return replace(profile, unseen=unseen, seconds=time.perf_counter() - started)


def _checked(profile: Profile, tracer: Tracer, cards: Cards) -> tuple[Profile, str | None]:
    """`profile` with traces of the sizes that matter, and why one of them could not be made.

    The size expected to fit on the largest card is always traced; where that is a surprise, so are the other cards' and the
    next larger ones, until more traces are as expected than are not.
    """
    from probe.batch.prediction.recorder import UntraceableError

    failed: dict[int, str] = {}
    while len(profile.fit.traces) + len(failed) < MAX_TRACES:
        num_agreeing = sum(check.agrees for check in profile.checks)
        trusted = num_agreeing > len(profile.checks) - num_agreeing
        size = next_size_to_trace(profile, cards, excluded=failed, only_largest=trusted)
        if size is None:
            break
        try:
            traced = tracer.trace(profile.micro_batch(size))
        except UntraceableError as error:
            failed[size] = str(error)
            continue
        expected_bytes = profile.live_peak_bytes(size)
        profile = replace(profile, fit=profile.fit.with_trace(traced.trace))
        check = TraceCheck(batch_size=size, expected_bytes=expected_bytes, traced_bytes=profile.live_peak_bytes(size))
        profile = replace(profile, checks=(*profile.checks, check))
    reason = "; ".join(
        f"batch size {size:,}, with which the training step cannot be traced ({why})" for size, why in failed.items()
    )
    return profile, reason or None
