"""Trace one task at any batch size, with real batches if they are small and enlarged ones if they are large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from probe.batch.prediction.memory_model import Target
from probe.batch.prediction.recorder import UntraceableError
from probe.batch.prediction.trace import MAX_READ_BYTES, TracedStep, TraceOptions, trace_run
from probe.batch.sample_ranking import SampleRanking
from probe.batch.task_samples import load_batch
from probe.loading.batch import Batch
from probe.loading.dataset import as_tensors, num_samples
from probe.loading.trees import map_tensors, num_bytes, tensors_of
from probe.task import Task
from probe.training.settings import TrainerSettings

MAX_ACCUMULATION = 3
"""Micro-batches in a traced step. From the third on, each micro-batch allocates the same as the one before."""
MAX_READ_SAMPLES = 512
"""Largest batch that is read sample by sample, which may take long."""
_SMALL = 8

_RECURRENT: dict[Target, str | None] = {
    "simulated": None,
    "gpu": "recurrent layers run as on the CPU: cuDNN, whose reserve space is not documented, keeps other tensors for the "
    "backward pass",
}


class Tracer:
    """Traces of one task, and remarks on what they do not cover."""

    def __init__(
        self, task: Task, settings: TrainerSettings, *, target: Target, seed: int, rankings: Sequence[SampleRanking]
    ) -> None:
        self._task = task
        self._settings = settings
        self._target: Target = target
        self._seed = seed
        self._batches, *val_batches = (
            TracedBatches(task, data, ranking) for data, ranking in zip((task.train, task.val), rankings, strict=False)
        )
        self._val_batches = next(iter(val_batches), None)
        self._steps: list[TracedStep] = []
        self.gradient_accumulation = min(settings.gradient_accumulation, MAX_ACCUMULATION)

    def trace(self, micro_batch: int) -> TracedStep:
        """Trace training and evaluation steps. Raises UntraceableError, and the errors of reading a batch."""
        size = micro_batch * self.gradient_accumulation
        try:
            batch = self._batches.of(size)
            val_batch = (
                None if self._val_batches is None else self._val_batches.of(min(size, num_samples(self._task.val)))
            )
        except UnstretchableError as error:
            raise UntraceableError(str(error)) from None
        step = trace_run(
            self._task,
            replace(self._settings, batch_size=size, gradient_accumulation=self.gradient_accumulation),
            batch,
            val_batch=val_batch,
            example=self._batches.of(self.gradient_accumulation * 4),
            options=TraceOptions(
                micro_batch=micro_batch,
                as_gpu=self._target == "gpu",
                seed=self._seed,
                copies_ahead=self._target == "gpu" and not self._batches.are_in_tensors,
            ),
        )
        self._steps.append(step)
        return step

    def notes(self) -> tuple[str, ...]:
        """Return sentences about what the traces do not cover."""
        notes = []
        if any(step.has_recurrent_layers for step in self._steps):
            notes.append(_RECURRENT[self._target])
        if any(step.reads_values for step in self._steps):
            notes.append(
                "the step depends on values of the data; it was traced with the values of the first or largest samples"
            )
        num_bounded = max(step.num_bounded for step in self._steps)
        if num_bounded:
            notes.append(
                f"{num_bounded} results whose size depends on computed values; they are assumed to have their largest "
                "possible size"
            )
        failure = next((step.eval_failure for step in self._steps if step.eval_failure is not None), None)
        if failure is not None:
            notes.append(f"the evaluation step, which cannot be traced ({failure})")
        return tuple(note for note in notes if note is not None)


class UnstretchableError(Exception):
    """A batch cannot be enlarged. The message names the type that prevents it."""


class TracedBatches:
    """Batches of any size from one split of a task's data. Batches up to MAX_READ_BYTES hold real samples; larger ones repeat
    samples or have shapes only."""

    def __init__(self, task: Task, data: Any, ranking: SampleRanking) -> None:
        self._task = task
        self._data = data
        self._ranking = ranking
        self.are_in_tensors = as_tensors(data, task) is not None
        self._loaded: dict[int, Batch] = {}

    def of(self, size: int) -> Batch:
        """Return a batch of `size` samples; tensors without data are on the meta device. Raises DataError, or
        UnstretchableError if the batch must be enlarged and cannot be."""
        sample_bytes = max(self._real(_SMALL).num_bytes // _SMALL, 1)
        most = max(MAX_READ_BYTES // sample_bytes, _SMALL)
        if not self.are_in_tensors:
            most = min(most, MAX_READ_SAMPLES)
        if size <= most:
            return self._real(size)
        base = 1 << (most.bit_length() - 1)
        return stretched(self._real(base // 2), self._real(base), size)

    def _real(self, size: int) -> Batch:
        if size not in self._loaded:
            self._loaded[size] = load_batch(self._task, self._data, self._ranking.largest(size)[0])
        return self._loaded[size]


def stretched(half: Batch, whole: Batch, size: int) -> Batch:
    """Extrapolate two batches to `size` samples: every dimension, list and integer that grows from `half` to `whole`, which has
    twice as many samples, keeps growing at the same rate. Raises UnstretchableError."""

    def grown(small: int, large: int) -> int:
        return large + (large - small) * 2 * (size - whole.num_samples) // whole.num_samples

    def stretch(small: Any, large: Any) -> Any:
        if isinstance(large, Tensor):
            return _stretched_tensor(large, [grown(*sides) for sides in zip(small.shape, large.shape, strict=True)])
        if type(large) is dict:
            return {key: stretch(small[key], item) for key, item in large.items()}
        if isinstance(large, tuple) and hasattr(large, "_fields"):
            return type(large)(*map(stretch, small, large))
        if isinstance(large, (tuple, list)):
            items = [stretch(one, other) for one, other in zip(small, large, strict=False)]
            items += large[len(items) :]
            return type(large)(items[index % len(items)] for index in range(grown(len(small), len(large))))
        if isinstance(large, int) and not isinstance(large, bool):
            return grown(small, large)
        if large is None or isinstance(large, (str, bytes, bool, float)):
            return large
        pairs = list(zip_longest(tensors_of(small), tensors_of(large)))
        if not pairs or any(None in pair for pair in pairs):
            raise UnstretchableError(f"the batch contains a {type(large).__name__}, which cannot be enlarged")
        tensors = iter([stretch(*pair) for pair in pairs])
        return map_tensors(lambda _: next(tensors), large)

    return Batch(stretch(half.content, whole.content), size)


def _stretched_tensor(tensor: Tensor, shape: list[int]) -> Tensor:
    """Enlarge a tensor to `shape` by repeating its values; without values if it exceeds MAX_READ_BYTES."""
    if list(tensor.shape) == shape:
        return tensor
    made = torch.empty(shape, dtype=tensor.dtype, device="meta")
    if num_bytes(made) > MAX_READ_BYTES or 0 in tensor.shape:
        return made
    for dim, length in enumerate(shape):
        if length != tensor.shape[dim]:
            tensor = tensor.index_select(dim, torch.arange(length) % tensor.shape[dim])
    return tensor
