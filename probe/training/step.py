"""The training step: forward, loss, backward, penalties, clipping, optimizer. Batch, lr and search all use it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from probe.errors import TaskError
from probe.loading.batch import Batch, checked_content
from probe.loading.trees import map_tensors
from probe.records import Precision
from probe.task import Task
from probe.tasks.augment import augmentation
from probe.tasks.losses import loss_function
from probe.training import optimizers
from probe.training.acceleration import channels_last
from probe.training.metrics import RunningMetrics
from probe.training.settings import TrainerSettings
from probe.workers.process_state import read_precisions, write_precisions

_AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class ForwardPass:
    """The task's (model, batch) -> (loss, outputs), with autocast if the precision requires it, and with `channels_last` on
    inputs in that memory format."""

    def __init__(self, task: Task, *, precision: Precision, device_type: str, channels_last: bool = False) -> None:
        self._forward = task.forward
        self._loss = loss_function(task.loss)
        self._train_loss = None if task.train_loss is None else loss_function(task.train_loss)
        dtype = _AUTOCAST_TYPES.get(precision)
        # Made once: making it takes as long as launching several kernels.
        self._autocast = nullcontext() if dtype is None else torch.autocast(device_type, dtype=dtype)
        self._channels_last = channels_last

    def __call__(self, model: torch.nn.Module, batch: Any) -> tuple[Tensor, Any]:
        with self._autocast:
            outputs, loss = self._run(model, batch)
            return (self._loss(outputs, batch[-1]) if loss is None else loss), outputs

    def train(self, model: torch.nn.Module, batch: Any) -> tuple[Any, Any, Any]:
        """Returns (loss to minimize, loss to report, outputs). The loss to report is `Task.loss` of the same outputs; it is not
        finite if the other is not."""
        with self._autocast:
            outputs, loss = self._run(model, batch)
            if self._train_loss is None:
                loss = self._loss(outputs, batch[-1]) if loss is None else loss
                return loss, loss, outputs
            loss = self._train_loss(outputs, batch[-1])
            check_loss(loss)
            with torch.no_grad():
                reported = self._loss(map_tensors(torch.Tensor.detach, outputs), batch[-1])
                return loss, torch.where(loss.isfinite(), reported, loss), outputs

    def _run(self, model: torch.nn.Module, batch: Any) -> tuple[Any, Tensor | None]:
        """Returns the outputs, and the loss if the task has its own `forward`."""
        if self._channels_last:
            batch = map_tensors(channels_last, batch)
        if self._forward is not None:
            loss, outputs = self._forward(model, batch)
            return outputs, loss
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise TaskError(
                f"A batch must be a tuple (inputs, ..., targets), but it is {type(batch).__name__}.",
                hint="Give the Task its own forward=(model, batch) -> (loss, outputs).",
            )
        return model(*batch[:-1]), None


class TrainStep:
    """One optimizer step over one batch, split into `gradient_accumulation` micro-batches. With `stops_at_nan`, a loss that is
    not finite ends the step before the weights are updated. This reads each loss, which on a GPU waits for all queued work.
    Without it, the step does not wait, and the caller checks the sum of many losses."""

    def __init__(
        self,
        task: Task,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        settings: TrainerSettings,
        device_type: str,
        *,
        stops_at_nan: bool = True,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._settings = settings
        self._forward = ForwardPass(
            task, precision=settings.precision, device_type=device_type, channels_last=settings.channels_last
        )
        self._augment = augmentation(task.augment)
        self._stops_at_nan = stops_at_nan
        self._penalized = bool(settings.l1 or settings.l2)
        self._was_checked = False
        self._update_pre_hooks: list[Callable[[], object]] = []
        self.scaler = torch.amp.GradScaler(device_type) if settings.precision == "fp16" else None

    def __call__(self, batch: Batch, metrics: RunningMetrics | None = None) -> Tensor:
        """Train on a batch, add its outputs to `metrics`, and return the mean `Task.loss` before the update: a detached scalar
        on the device. Raises TaskError for an invalid loss."""
        self._optimizer.zero_grad(set_to_none=True)
        if self._augment is not None:
            batch = self._augmented(batch)
        loss = (
            self._backward(batch, metrics)
            if self._settings.gradient_accumulation == 1
            else self._accumulate(batch, metrics)
        )
        if self._stops_at_nan and not math.isfinite(loss.item()):
            return loss
        self._update()
        return loss

    def register_update_pre_hook(self, hook: Callable[[], object]) -> None:
        """Call `hook` in each step after the last backward pass, before gradients are unscaled, penalized or clipped."""
        self._update_pre_hooks.append(hook)

    def _backward(self, batch: Batch, metrics: RunningMetrics | None, fraction: float | None = None) -> Tensor:
        loss, reported, outputs = self._forward.train(self._model, batch.content)
        if not self._was_checked:
            check_loss(loss)
            self._was_checked = True
        if fraction is not None:
            loss, reported = loss * fraction, reported * fraction
        torch.autograd.backward(loss if self.scaler is None else self.scaler.scale(loss))
        if metrics is not None:  # after the backward pass, so as not to raise its memory peak
            metrics.add(outputs, batch.targets)
        detached: Tensor = reported.detach()
        return detached

    def _augmented(self, batch: Batch) -> Batch:
        """Augment the whole batch, so that random numbers do not depend on the number of micro-batches."""
        assert self._augment is not None
        with torch.no_grad():
            content = self._augment(batch.content)
        return replace(batch, content=checked_content(content, returned_by="Task.augment"))

    def _accumulate(self, batch: Batch, metrics: RunningMetrics | None) -> Tensor:
        total: Tensor | None = None
        for part in batch.split(self._micro_edges(batch.num_samples)):
            loss = self._backward(part, metrics, part.num_samples / batch.num_samples)
            total = loss if total is None else total + loss
        assert total is not None  # a batch has at least one sample
        return total

    def _micro_edges(self, size: int) -> list[int]:
        """Edges of the micro-batches, which have equal sizes up to one sample and are not larger than those of a full batch."""
        parts = min(self._settings.gradient_accumulation, size)
        if size < self._settings.batch_size and self._settings.batch_size > self._settings.gradient_accumulation:
            # The last batch of an epoch: batch normalization raises an error for a single sample.
            parts = min(parts, max(1, size // 2))
        return [size * number // parts for number in range(parts + 1)]

    def _update(self) -> None:
        for hook in self._update_pre_hooks:
            hook()
        settings, scaler = self._settings, self.scaler
        changes_gradients = settings.max_grad_norm is not None or (self._penalized and not settings.decoupled)
        if scaler is not None and changes_gradients:
            scaler.unscale_(self._optimizer)
        if self._penalized and not settings.decoupled:
            optimizers.add_to_gradients(self._optimizer, settings)
        if settings.max_grad_norm is not None:
            params = [weight for group in self._optimizer.param_groups for weight in group["params"]]
            torch.nn.utils.clip_grad_norm_(params, settings.max_grad_norm)
        if scaler is None:
            self._optimizer.step()
        else:
            scaler.step(self._optimizer)
            scaler.update()
        if self._penalized and settings.decoupled:
            optimizers.apply_to_weights(self._optimizer, settings)


def check_loss(loss: Any) -> None:
    """Raise TaskError unless `loss` is a scalar tensor that gradients can flow from."""
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise TaskError(f"The loss must be a scalar tensor, but it is {what}.", hint="Reduce it with .mean().")
    if not loss.requires_grad:
        raise TaskError(
            "The loss does not depend on any trainable parameter.",
            hint="Remove .detach(), .item() or torch.no_grad() between the model and its loss.",
        )


@contextmanager
def matmul_precision(precision: Precision) -> Iterator[None]:
    """A context in which matrix products use TF32 if the precision is 'tf32', and as the program has set it otherwise."""
    if precision != "tf32":
        yield
        return
    before = read_precisions()
    if before[0] is None:  # the program uses the newer switches, beside which PyTorch refuses the older one
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    else:
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        write_precisions(before)
