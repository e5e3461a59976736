"""Predict which changes of the training would help if not even one sample fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from probe.batch.context import ProbeConfig
from probe.batch.prediction.build_memory_model import build_in_process
from probe.batch.prediction.memory_model import MemoryModel, Target, Untraceable
from probe.batch.prediction.predict import TargetGpus, predict_batch_sizes
from probe.batch.records import Alternative, BatchResult
from probe.errors import ProbeError
from probe.tasks.source import NamedSource, TaskSource
from probe.training.optimizer_names import OPTIONAL
from probe.workers.death import WorkerDied
from probe.workers.worker import Worker

SYNTHETIC_IMAGE_SIZE = 224
"""Size of synthetic images if none is given."""
MIN_IMAGE_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of the training that takes less memory."""

    title: str
    params: dict[str, Any]
    """Hyperparameters of the trainer that replace the given ones."""
    image_size: int | None = None


def possible_changes(
    *, precision: str, optimizer: str, activation_checkpointing: bool, image_size: int | None
) -> tuple[Change, ...]:
    """Return changes that may help, mildest first: each change alone, then all of them together. Pure. `image_size` is None for
    data that cannot be resized."""
    single = []
    if precision in ("fp32", "tf32"):
        single.append(Change(title="bf16", params={"precision": "bf16"}))
    if not activation_checkpointing:
        single.append(Change(title="activation checkpointing", params={"activation_checkpointing": True}))
    if optimizer != "sgd":
        single.append(Change(title="optimizer sgd, which keeps no state", params={"optimizer": "sgd"}))
    smaller: list[Change] = []
    while image_size is not None and image_size // 2 >= MIN_IMAGE_SIZE and len(smaller) < 2:
        image_size //= 2
        smaller.append(Change(title=f"images of {image_size} x {image_size}", params={}, image_size=image_size))
    together = Change(
        title=", ".join(change.title.partition(",")[0] for change in single),
        params={name: value for change in single for name, value in change.params.items()},
    )
    joint = [together] if len(single) > 1 else []
    if single and smaller:
        joint.append(
            replace(together, title=f"{together.title}, {smaller[-1].title}", image_size=smaller[-1].image_size)
        )
    return (*single, *smaller, *joint)


def find_alternatives(config: ProbeConfig, result: BatchResult, *, in_process: bool) -> tuple[Alternative, ...]:
    """Return the changes after which a batch is predicted to fit on the device, or on the largest given GPU. There are none if
    a batch fits without a change, if nothing was predicted, or if weights and gradients alone exceed the memory."""
    if result.stopped_by not in ("nothing_fits", "predicted") or not result.predictions:
        return ()
    largest = max(result.predictions, key=lambda prediction: prediction.memory_bytes)
    something_fits = result.stopped_by == "predicted" and largest.largest_fit is not None
    # No change reduces weights, gradients and context.
    if something_fits or 2 * largest.breakdown.weights_bytes + largest.breakdown.context_bytes > largest.memory_bytes:
        return ()
    changes = possible_changes(
        precision=result.precision,
        optimizer=result.optimizer.partition(" ")[0],
        activation_checkpointing=bool(config.params.get("activation_checkpointing")),
        image_size=_image_size(config.source),
    )
    is_simulated = result.stopped_by != "predicted" and result.device_memory is None
    target: Target = "simulated" if is_simulated else "gpu"
    gpus = TargetGpus(memory_bytes=(largest.memory_bytes,))
    found = []
    for change, model in _memory_models(config, changes, target, gpus, in_process=in_process):
        best = next(iter(predict_batch_sizes(model, gpus)[1]), None)
        if best is not None and best.largest_fit is not None:
            found.append(Alternative(change=change.title, largest_fit=best.largest_fit, peak_bytes=best.peak_bytes))
    return tuple(found)


def _image_size(source: TaskSource) -> int | None:
    if not isinstance(source, NamedSource):
        return None
    return source.image_size or (SYNTHETIC_IMAGE_SIZE if source.data == "synthetic" else None)


def _memory_models(
    config: ProbeConfig, changes: tuple[Change, ...], target: Target, gpus: TargetGpus, *, in_process: bool
) -> Iterator[tuple[Change, MemoryModel | Untraceable]]:
    """Yield the memory model after each change, all traced in one child process. Changes that the task rejects are skipped."""
    with nullcontext() if in_process else Worker(num_threads=1, env=config.device.environment) as worker:
        build = build_in_process if worker is None else partial(worker.call, build_in_process)
        for change in changes:
            try:
                yield change, build(*_changed(config, change), target, gpus, config.seed)
            except WorkerDied:
                return
            except ProbeError:
                continue


def _changed(config: ProbeConfig, change: Change) -> tuple[TaskSource, dict[str, Any]]:
    source = config.source
    if change.image_size is not None and isinstance(source, NamedSource):
        source = replace(source, image_size=change.image_size)
    params = {**config.params, **change.params}
    if "optimizer" in change.params:
        params = {name: value for name, value in params.items() if name not in OPTIONAL}
    return source, params
