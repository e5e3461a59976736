"""Traces of one task with batches of any size, and what they leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from probe.batch.prediction.memory_model import Target
from probe.batch.prediction.recorder import UntraceableError
from probe.batch.prediction.trace import Traced, trace_run
from probe.batch.prediction.traced_batches import TracedBatches, UnstretchableError
from probe.batch.samples.ranking import SampleRanking
from probe.loading.dataset import num_samples
from probe.task import Task
from probe.training.settings import TrainerSettings

NUM_STEPS = 2
"""The optimizer's state appears in the first step, and is there from the second on."""
MAX_ACCUMULATION = 3
"""From the third micro-batch on every one is like the one before."""

_RECURRENT = {
    "simulated": None,
    "cuda": "recurrent layers run as on the CPU: cuDNN, which does not document its reserve space, keeps other tensors for the "
    "backward pass",
}


class Tracer:
    """Traces `task`, and remembers what was seen on the way."""

    def __init__(
        self, task: Task, settings: TrainerSettings, *, target: Target, seed: int, rankings: Sequence[SampleRanking]
    ) -> None:
        """`rankings`: of the training part and, where the task has one, of the validation part."""
        self._task = task
        self._settings = settings
        self._target: Target = target
        self._seed = seed
        self._batches, *val_batches = (
            TracedBatches(task, data, ranking) for data, ranking in zip((task.train, task.val), rankings, strict=False)
        )
        self._val_batches = next(iter(val_batches), None)
        self._seen: list[Traced] = []
        self.gradient_accumulation = min(settings.gradient_accumulation, MAX_ACCUMULATION)
        """Micro-batches of a traced step."""

    def trace(self, micro_batch: int) -> Traced:
        """Raises UntraceableError, and what reading a batch raises."""
        size = micro_batch * self.gradient_accumulation
        try:
            batch = self._batches.of(size)
            val_batch = (
                None if self._val_batches is None else self._val_batches.of(min(size, num_samples(self._task.val)))
            )
        except UnstretchableError as error:
            raise UntraceableError(str(error)) from None
        traced = trace_run(
            self._task,
            replace(self._settings, batch_size=size, gradient_accumulation=self.gradient_accumulation),
            batch,
            val_batch=val_batch,
            example=self._batches.of(self.gradient_accumulation * 4),
            micro_batch=micro_batch,
            num_steps=NUM_STEPS,
            as_cuda=self._target == "cuda",
            seed=self._seed,
        )
        self._seen.append(traced)
        return traced

    def notes(self) -> tuple[str, ...]:
        """What the traces so far do not see, in words."""
        notes = []
        if any(traced.has_recurrent_layers for traced in self._seen):
            notes.append(_RECURRENT[self._target])
        if any(traced.reads_values for traced in self._seen):
            notes.append(
                "what is done depends on values of the data: it was traced with those of the first or largest samples"
            )
        num_bounded = max(traced.num_bounded for traced in self._seen)
        if num_bounded:
            notes.append(
                f"{num_bounded} results whose size depends on computed values: they are counted as if everything was kept, "
                "which is the most that they can take"
            )
        failure = next((traced.eval_failure for traced in self._seen if traced.eval_failure is not None), None)
        if failure is not None:
            notes.append(f"the evaluation step, which cannot be traced ({failure})")
        return tuple(note for note in notes if note is not None)
