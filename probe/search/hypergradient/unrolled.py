"""The derivative of the validation loss after a training with respect to the training's own hyperparameters.

The training is unrolled: every step is a function of the weights and hyperparameters before it, and the chain rule goes back
through all of them (Maclaurin, Duvenaud & Adams 2015, https://arxiv.org/abs/1502.03492, who reversed the steps in exact
arithmetic; Franceschi et al. 2017, https://arxiv.org/abs/1703.01785, compare this reverse mode with a forward one). Here the
weights before each step are stored, and the step is computed a second time on the way back: exact, and memory grows by the
weights, their momenta and one batch a step, not by the activations of all steps.

What is constant: the initial weights, the batches and their order, and the masks of dropout, which are drawn on the way back
from the same state of the random generators. Statistics of batch normalization enter the derivative through each training
batch; the *running* ones, which the validation loss is computed with, are carried along but taken as constants.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, get_args

import torch
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from probe.device.protocol import Device
from probe.errors import TaskError, UsageError, first_line
from probe.loading.epoch_batches import make_batches
from probe.loading.random_state import random_state, set_random_state
from probe.loading.trees import num_bytes
from probe.search.hypergradient.functional_loss import ModelLoss, smoothed_cross_entropy
from probe.search.hypergradient.functional_sgd import Scalar, SgdHyperparameters, Weights, sgd_step
from probe.task import Task
from probe.tasks.augment import augmentation
from probe.training.optim.lr_schedules import lr_factor
from probe.training.run import MIN_EVAL_BATCH_SIZE, TrainingRun
from probe.training.settings import TrainerSettings
from probe.training.step import ForwardPass

HyperparameterName = Literal["lr", "momentum", "weight_decay", "l1", "l2", "label_smoothing"]
DIFFERENTIABLE: tuple[HyperparameterName, ...] = get_args(HyperparameterName)
OPTIMIZERS = ("sgd", "nesterov")
UNROLLED_COST = 4
"""Passes over the data that one unrolled pass counts as: the pass itself; on the way back the same forward and backward
computation once more, and its own backward pass, twice that work."""
MAX_STORED_BYTES = 2**30
"""For the weights, momenta and batches of the unrolled steps; what does not fit is not unrolled."""


_NOT_TWICE = ("derivative for", "double backward", "differentiate twice")
"""How PyTorch says that an operator has no second derivative."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypergradient:
    """Numbers may be infinite or NaN, where the training diverged."""

    val_loss: float
    """At the end of the training."""
    gradient: Mapping[str, float]
    """Hyperparameter -> d val_loss / d hyperparameter."""
    num_steps: int
    """Of the training."""
    num_unrolled: int
    """The last ones, that the derivative goes through."""
    num_passes: float
    """What it cost, in passes over the training data."""


def hypergradient(
    run: TrainingRun,
    names: Iterable[str],
    *,
    epochs: int,
    device: Device,
    label_smoothing: float = 0.0,
    unroll: int | None = None,
    max_stored_bytes: int = MAX_STORED_BYTES,
) -> Hypergradient:
    """Train `run`, which is fresh, for `epochs` and differentiate its validation loss with respect to those of DIFFERENTIABLE
    in `names`. The run's own model is left as it is.

    Args:
        label_smoothing: the training loss's, where that is among `names`.
        unroll: the last steps that the derivative goes through; None: all of them. A truncated one is biased towards small
            learning rates (Wu et al. 2018, https://arxiv.org/abs/1803.02021).

    Raises:
        UsageError: an optimizer, a precision or anything else that cannot be unrolled.
        TaskError: no validation part, a loss that has no label smoothing, or an operator without a second derivative.
    """
    check_settings(run.settings)
    if run.task.val is None:
        raise TaskError("A hypergradient is that of the validation loss, and the task has no validation part.")
    training = _Training(run, device, {name: _value(run.settings, name, label_smoothing) for name in names})
    try:
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            return training.differentiate(epochs, unroll=unroll, max_stored_bytes=max_stored_bytes)
    except RuntimeError as error:
        if not any(words in str(error) for words in _NOT_TWICE):
            raise
        raise TaskError(
            f"The model has no second derivative: {first_line(error)}",
            hint="Gradient-based tuning differentiates through training steps. Search these hyperparameters another way.",
        ) from None


def check_settings(settings: TrainerSettings) -> None:
    """Raise UsageError for what is not unrolled."""
    optimizer = settings.optimizer
    if optimizer not in OPTIMIZERS:
        raise UsageError(
            f"Hypergradients go through steps of {' or '.join(OPTIMIZERS)}, not of {optimizer!r}.",
            hint='Fix it in the recipe\'s [space]: optimizer = "sgd".',
        )
    for name, plain in (("precision", "fp32"), ("gradient_accumulation", 1), ("activation_checkpointing", False)):
        if getattr(settings, name) != plain:
            raise UsageError(
                f"Hypergradients need {name} = {plain!r}, not {getattr(settings, name)!r}.",
                hint="Leave it out of [space].",
            )


@dataclass(slots=True)
class _Moment:
    """Before one training step."""

    weights: Weights
    momenta: Weights
    buffers: Weights
    random: dict[str, Any]
    batch: Any
    factor: float
    """The schedule's."""


class _Training:
    def __init__(self, run: TrainingRun, device: Device, values: Mapping[str, float]) -> None:
        self._run = run
        self._device = device
        self._kind = device.torch_device
        self._values = values
        self._loss = ModelLoss(run.model, ForwardPass(run.task, precision="fp32", device_type=self._kind.type))
        self._augment = augmentation(run.task.augment)
        """Draws from the random generators, as in training, so that the same images come on the way back."""
        named = dict(self._loss.named_parameters())
        self._constants = {name: weight.detach() for name, weight in named.items() if not weight.requires_grad}
        self._weights = {name: weight.detach().clone() for name, weight in named.items() if weight.requires_grad}
        self._checked = "label_smoothing" not in values

    def differentiate(self, epochs: int, *, unroll: int | None, max_stored_bytes: int) -> Hypergradient:
        steps_per_epoch = self._run.num_steps_per_epoch
        total = epochs * steps_per_epoch
        moments, last = self._train(total, min(total, unroll or total), max_stored_bytes)
        weights = {name: weight.requires_grad_() for name, weight in last.weights.items()}
        val_loss, cotangents = self._validate(weights, last.buffers)
        gradient = (
            self._go_back(moments, cotangents) if math.isfinite(val_loss) else dict.fromkeys(self._values, math.nan)
        )
        passes = (total + (UNROLLED_COST - 1) * len(moments)) / steps_per_epoch
        return Hypergradient(
            val_loss=val_loss, gradient=gradient, num_steps=total, num_unrolled=len(moments), num_passes=passes
        )

    def _train(self, total: int, num_stored: int, max_stored_bytes: int) -> tuple[list[_Moment], _Moment]:
        """The moments before the last `num_stored` steps, fewer where they take too much memory, and that after the last."""
        settings = self._run.settings
        planned = settings.epochs * self._run.num_steps_per_epoch
        weights = self._weights
        momenta = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        buffers = {name: buffer.detach().clone() for name, buffer in self._loss.named_buffers()}
        moments: list[_Moment] = []
        moment = _Moment(weights, momenta, buffers, {}, None, 1.0)
        self._loss.train()
        for number, batch in enumerate(islice(self._run.batches(), total)):
            if number == 0:
                step_bytes = 2 * num_bytes(weights) + num_bytes(buffers) + batch.num_bytes
                num_stored = max(1, min(num_stored, max_stored_bytes // max(1, step_bytes)))
            kept = {name: buffer.clone() for name, buffer in moment.buffers.items()}
            factor = lr_factor(settings.lr_schedule, number, planned)
            moment = replace(moment, buffers=kept, random=random_state(self._kind), batch=batch.content, factor=factor)
            if number >= total - num_stored:
                moments.append(moment)
            buffers = {name: buffer.clone() for name, buffer in kept.items()}
            values: dict[str, Scalar] = dict(self._values)
            new_weights, new_momenta = self._step(replace(moment, buffers=buffers), values, create_graph=False)
            moment = _Moment(_detached(new_weights), _detached(new_momenta), buffers, {}, None, 1.0)
        return moments, moment

    def _step(self, moment: _Moment, values: Mapping[str, Scalar], *, create_graph: bool) -> tuple[Weights, Weights]:
        """One training step from `moment`, whose buffers it changes."""
        weights = moment.weights
        if not create_graph:
            weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        state = {**weights, **self._constants, **moment.buffers}
        batch = moment.batch if self._augment is None else self._augment(moment.batch)
        loss, outputs = functional_call(self._loss, state, (batch,))
        if "label_smoothing" in values:
            targets = batch[-1] if isinstance(batch, (tuple, list)) else None
            check = None if self._checked else loss
            loss = smoothed_cross_entropy(outputs, targets, values["label_smoothing"], should_equal=check)
            self._checked = True
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=create_graph, allow_unused=True)
        named = dict(zip(weights, gradients, strict=True))
        with torch.set_grad_enabled(create_graph):
            return sgd_step(weights, moment.momenta, named, self._hyperparameters(values, moment.factor))

    def _hyperparameters(self, values: Mapping[str, Scalar], factor: float) -> SgdHyperparameters:
        settings = self._run.settings
        found = {
            name: values.get(name, _value(settings, name, 0.0)) for name in DIFFERENTIABLE if name != "label_smoothing"
        }
        found["lr"] = found["lr"] * factor
        return SgdHyperparameters(
            **found,
            nesterov=settings.optimizer == "nesterov",
            decoupled=settings.decoupled,
            max_grad_norm=settings.max_grad_norm,
        )

    def _validate(self, weights: Weights, buffers: Weights) -> tuple[float, Weights]:
        """The validation loss and its derivative with respect to the weights, batch by batch."""
        task, settings = self._run.task, self._run.settings
        batches = _validation_batches(task, settings, self._device)
        total, count = 0.0, 0
        sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self._loss.eval()
        for batch in batches.epoch(0):
            size = batch.num_samples
            loss, _ = functional_call(self._loss, {**weights, **self._constants, **buffers}, (batch.content,))
            found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            for name, gradient in zip(weights, found, strict=True):
                if gradient is not None:
                    sums[name] += size * gradient
            total += size * float(loss.detach())
            count += size
            del batch, loss, found  # they make room for the next batch
        return total / count, {name: total_of / count for name, total_of in sums.items()}

    def _go_back(self, moments: list[_Moment], cotangents: Weights) -> dict[str, float]:
        """Through the steps from the last to the first: d val_loss / d weights, momenta, and the hyperparameters' sum."""
        sums = {name: torch.zeros((), dtype=torch.float64, device=self._kind) for name in self._values}
        names = list(cotangents)
        upper = [*cotangents.values(), *(torch.zeros_like(tensor) for tensor in cotangents.values())]
        self._loss.train()
        for moment in reversed(moments):
            set_random_state(moment.random, self._kind)
            weights = {name: moment.weights[name].detach().requires_grad_() for name in names}
            momenta = {name: moment.momenta[name].detach().requires_grad_() for name in names}
            values = {
                name: torch.tensor(value, dtype=torch.float64, device=self._kind, requires_grad=True)
                for name, value in self._values.items()
            }
            again = replace(moment, weights=weights, momenta=momenta)
            new_weights, new_momenta = self._step(again, values, create_graph=True)
            outputs = [*(new_weights[name] for name in names), *(new_momenta[name] for name in names)]
            # Not torch.autograd.grad: that passes over operators without a second derivative silently.
            torch.autograd.backward(outputs, upper)
            leaves = [*weights.values(), *momenta.values()]
            upper = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
            for name, value in values.items():
                if value.grad is not None:
                    sums[name] += value.grad
        return {name: float(total) for name, total in sums.items()}


def _validation_batches(task: Task, settings: TrainerSettings, device: Device) -> Any:
    return make_batches(
        task,
        task.val,
        batch_size=max(settings.batch_size, MIN_EVAL_BATCH_SIZE) if device.limit_bytes is None else settings.batch_size,
        device=device,
        seed=0,
        shuffle=False,
    )


def _value(settings: TrainerSettings, name: str, label_smoothing: float) -> float:
    """Of a hyperparameter of the training; what the optimizer does where the settings leave it open."""
    if name == "label_smoothing":
        return label_smoothing
    if name not in DIFFERENTIABLE:
        raise UsageError(f"There is no derivative with respect to {name}.", hint=f"Known: {', '.join(DIFFERENTIABLE)}.")
    value = getattr(settings, name)
    if value is None:
        return 0.9 if name == "momentum" and settings.optimizer == "nesterov" else 0.0
    return float(value)


def _detached(tensors: Weights) -> Weights:
    return {name: tensor.detach() for name, tensor in tensors.items()}
