"""One training run: a model, its optimizer and its position in the data; trained by steps or epochs, saved and restored."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from probe.device.protocol import Device
from probe.errors import TaskError
from probe.loading.batch import Batch
from probe.loading.epoch_batches import Batches, make_batches
from probe.loading.random_state import random_state, random_state_kept, seed_everything, set_random_state
from probe.loading.trees import map_tensors
from probe.seeds import derive_seed
from probe.task import Task
from probe.training.acceleration import compile_errors, compile_forward, store_channels_last
from probe.training.activation_checkpointing import recompute_activations
from probe.training.evaluate import Evaluation, evaluate
from probe.training.metrics import RunningMetrics
from probe.training.optimizers import has_sparse_gradients, make_optimizer
from probe.training.records import EpochReport
from probe.training.settings import TrainerSettings, lr_factor
from probe.training.step import ForwardPass, TrainStep, matmul_precision

STEPS_BETWEEN_CHECKS = 64
"""Steps between checks of the loss on a GPU, where reading it waits for all queued work."""
MAX_LOSS_BYTES = 512
"""Losses in more memory, of which PyTorch allocates no less on a GPU, are copied while they are kept."""
MIN_EVAL_BATCH_SIZE = 512
"""Smallest batch size of evaluation if memory is not limited. Evaluation stores no activations."""


class TrainingRun:
    """Trains a task. The model is built, and the global random generators are seeded, when the run is created. With
    `stops_at_nan`, on the CPU, a loss that is not finite skips the update of the weights."""

    def __init__(
        self, task: Task, settings: TrainerSettings, *, device: Device, seed: int, stops_at_nan: bool = True
    ) -> None:
        self.task = task
        self.settings = settings
        self._device = device
        self._seed = seed
        seed_everything(derive_seed(seed, "weights"))
        self.model = _build_model(task).to(device.torch_device)
        if settings.channels_last:
            store_channels_last(self.model)
        if settings.activation_checkpointing:
            recompute_activations(self.model)
        self._compile_errors = compile_errors if settings.compile else nullcontext
        if settings.compile:
            compile_forward(self.model, device)
        prefers_fused = device.is_gpu and not has_sparse_gradients(self.model)
        self.optimizer = make_optimizer(self.model.parameters(), settings, prefers_fused=prefers_fused)
        self._lr_ratios = [group["lr"] / settings.lr for group in self.optimizer.param_groups]
        kind = device.torch_device.type
        stops_at_nan = stops_at_nan and not device.is_asynchronous
        self._step = TrainStep(task, self.model, self.optimizer, settings, kind, stops_at_nan=stops_at_nan)
        self._forward = ForwardPass(
            task, precision=settings.precision, device_type=kind, channels_last=settings.channels_last
        )
        self._train = self._batches_of(task.train, batch_size=settings.batch_size, shuffle=True)
        # Created here, so that measurements of a training step include the validation data on the device.
        self._val = (
            None if task.val is None else self._batches_of(task.val, batch_size=self._eval_batch_size(), shuffle=False)
        )
        self.epoch = 0
        self.step_seconds: float | None = None
        """Mean time of a training step in the last epoch, without the first step, which includes warm-up."""
        seed_everything(derive_seed(seed, "training"))

    @property
    def num_train_samples(self) -> int:
        return self._train.num_samples

    @property
    def num_params(self) -> int:
        """Number of trainable parameters."""
        return sum(weight.numel() for weight in self.model.parameters() if weight.requires_grad)

    @property
    def num_steps_per_epoch(self) -> int:
        return self._train.num_batches

    @property
    def copies_ahead(self) -> bool:
        """Whether the next batch is copied to the device while one is trained on."""
        return self._train.copies_ahead

    def register_update_pre_hook(self, hook: Callable[[], object]) -> None:
        """See `TrainStep.register_update_pre_hook`."""
        self._step.register_update_pre_hook(hook)

    def train_step(self, batch: Batch) -> Tensor:
        """One optimizer step. Returns the loss before it, a scalar on the device. Does not wait for a GPU."""
        with self._compile_errors():
            return self._step(batch)

    def batches(self) -> Iterator[Batch]:
        """Endless training batches, epoch after epoch."""
        return self._train.endless()

    def set_lr(self, lr: float) -> None:
        """Set the learning rate. Parameter groups keep the ratios that the optimizer was created with."""
        for group, ratio in zip(self.optimizer.param_groups, self._lr_ratios, strict=True):
            group["lr"] = lr * ratio

    def train_epoch(self, metrics: RunningMetrics | None = None) -> float | None:
        """Train one epoch and add its outputs to `metrics`. Returns the mean loss; None if a loss is not finite."""
        settings = self.settings
        steps = self._train.num_batches
        first_step = self.epoch * steps
        planned_steps = settings.epochs * steps
        check_every = STEPS_BETWEEN_CHECKS if self._device.is_asynchronous else 1
        losses = _LossSum()
        began = time.perf_counter()
        self.model.train()
        with matmul_precision(settings.precision), self._compile_errors():
            batches = self._train.epoch(self.epoch)
            for number in range(steps):
                if settings.lr_schedule != "constant":
                    self.set_lr(settings.lr * lr_factor(settings.lr_schedule, first_step + number, planned_steps))
                losses.add(self._step(next(batches), metrics))  # no reference to the batch is kept, to free its memory
                if number % check_every == 0 and not math.isfinite(losses.read()):
                    return None
                if number == 0 and steps > 1:  # the loss was read, so a GPU has completed this step
                    began = time.perf_counter()
        self.epoch += 1
        mean_loss = losses.read() / steps
        self.step_seconds = (time.perf_counter() - began) / max(1, steps - 1)
        return mean_loss if math.isfinite(mean_loss) else None

    def run_epoch(self) -> EpochReport | None:
        """Train one epoch and evaluate on the validation split if there is one. Returns None if a loss is not finite. Metrics
        that are not finite, like a precision without positive predictions, are listed in `undefined`."""
        started = time.perf_counter()
        train_metrics = RunningMetrics(self.task.metrics)
        train_loss = self.train_epoch(train_metrics)
        if train_loss is None:
            return None
        scores = self.evaluate(self.task.val) if self.task.val is not None else None
        if scores is not None and not math.isfinite(scores.loss):
            return None
        metrics = {} if scores is None else scores.metrics
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        return EpochReport(
            epoch=self.epoch,
            train_loss=train_loss,
            val_loss=scores.loss if scores else None,
            metrics=finite,
            train_metrics=train_metrics.read(),
            seconds=time.perf_counter() - started,
            step_seconds=self.step_seconds,
            undefined=tuple(name for name in metrics if name not in finite),
        )

    def evaluate(self, data: Any, *, model: torch.nn.Module | None = None) -> Evaluation:
        """Evaluate the model, or another one, on `data`. Only the validation split is kept on the device."""
        batches = self._val
        if batches is None or data is not self.task.val:
            batches = self._batches_of(data, batch_size=self._eval_batch_size(), shuffle=False, resident=False)
        return self.evaluate_batches(batches.epoch(0), model=model)

    def evaluate_batches(self, batches: Iterable[Batch], *, model: torch.nn.Module | None = None) -> Evaluation:
        """Evaluate the model, or another one, on batches that are on the device."""
        scored = self.model if model is None else model
        with matmul_precision(self.settings.precision), self._compile_errors():
            return evaluate(self.task, scored, batches, self._forward, self._device)

    def random_state_kept(self) -> AbstractContextManager[None]:
        """A context that restores the random generators, so that training is not affected by random numbers drawn inside."""
        return random_state_kept(self._device.torch_device)

    def eval_step(self, batch: Batch) -> None:
        """One forward pass in evaluation mode, without gradients."""
        self.model.eval()
        with torch.no_grad(), matmul_precision(self.settings.precision):
            self._forward(self.model, batch.content)
        self.model.train()

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs to continue exactly: copies of tensors on the host, and plain values. Between steps,
        gradients are not part of it; they are freed, so that nothing here needs more memory than a step."""
        scaler = self._step.scaler
        self.optimizer.zero_grad(set_to_none=True)
        with self._device.untracked():
            return {
                "model": _copied(self.model.state_dict()),
                "optimizer": _copied(self.optimizer.state_dict()),
                "scaler": None if scaler is None else scaler.state_dict(),
                "epoch": self.epoch,
                "random": random_state(self._device.torch_device),
            }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`. On the same machine's CPU, the next epoch is bitwise identical to an uninterrupted run."""
        self.model.load_state_dict(state["model"])
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()  # so that the old and the new tensors are not on the device at the same time
        self.optimizer.load_state_dict(state["optimizer"])
        if self._step.scaler is not None and state["scaler"] is not None:
            self._step.scaler.load_state_dict(state["scaler"])
        self.epoch = state["epoch"]
        set_random_state(state["random"], self._device.torch_device)

    def _eval_batch_size(self) -> int:
        unlimited = not self._device.is_gpu and self._device.limit_bytes is None
        return max(self.settings.batch_size, MIN_EVAL_BATCH_SIZE) if unlimited else self.settings.batch_size

    def _batches_of(self, data: Any, *, batch_size: int, shuffle: bool, resident: bool = True) -> Batches:
        return make_batches(
            self.task,
            data,
            batch_size=batch_size,
            device=self._device,
            seed=self._seed,
            shuffle=shuffle,
            resident=resident,
        )


class _LossSum:
    """The sum of the losses of many steps. They are read together, because reading one waits for a GPU."""

    def __init__(self) -> None:
        self._total = 0.0
        self._unread: list[Tensor] = []
        self._copies = False

    def add(self, loss: Tensor) -> None:
        if not self._unread:
            # PyTorch returns some losses, like mse_loss, in the memory of the values they are the mean of.
            self._copies = loss.untyped_storage().nbytes() > MAX_LOSS_BYTES
        self._unread.append(loss.clone() if self._copies else loss)

    def read(self) -> float:
        unread, self._unread = self._unread, []
        self._total += unread[0].item() if len(unread) == 1 else sum(torch.stack(unread).tolist()) if unread else 0.0
        return self._total


def _build_model(task: Task) -> torch.nn.Module:
    model = task.model()
    if not isinstance(model, torch.nn.Module):
        raise TaskError(
            f"Task.model must return a torch.nn.Module, but returned {type(model).__name__}.",
            hint="Write model=lambda: MyNet(...).",
        )
    return model


def _copied(state: Any) -> Any:
    return map_tensors(lambda tensor: tensor.detach().to("cpu", copy=True), state)
