"""The derivative of the validation loss after training with respect to the training's own hyperparameters.

Training is unrolled: each step is a function of the weights and hyperparameters before it, and the chain rule is applied back
through all steps (Maclaurin, Duvenaud & Adams 2015, https://arxiv.org/abs/1502.03492, who reversed the steps in exact
arithmetic; Franceschi et al. 2017, https://arxiv.org/abs/1703.01785, compare this reverse mode with a forward mode). Here the
weights before each step are stored, and each step is computed a second time on the way back. This is exact, and the memory for
each step is that of the weights, their momenta and one batch, not that of all activations.

Constant are the initial weights, the batches and their order, and dropout masks, which are drawn again from the same state of
the random generators. Batch statistics of batch normalization are differentiated. Its running statistics, which are used for
the validation loss, are updated but treated as constants.
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
from probe.recipe.refine import NOT_UNROLLED
from probe.search.hypergradient.functional import (
    ModelLoss,
    Scalar,
    SgdHyperparameters,
    Weights,
    sgd_step,
    smoothed_cross_entropy,
)
from probe.search.hypergradient.steps import UNROLLED_COST
from probe.task import Task
from probe.tasks.augment import augmentation
from probe.training.run import MIN_EVAL_BATCH_SIZE, TrainingRun
from probe.training.settings import TrainerSettings, lr_factor
from probe.training.step import ForwardPass

HyperparameterName = Literal["lr", "momentum", "weight_decay", "l1", "l2", "label_smoothing"]
DIFFERENTIABLE: tuple[HyperparameterName, ...] = get_args(HyperparameterName)
OPTIMIZERS = ("sgd", "nesterov")
MAX_STORED_BYTES = 2**30
"""Memory for the weights, momenta and batches of unrolled steps. Earlier steps that do not fit are not unrolled."""
_NO_SECOND_DERIVATIVE = ("derivative for", "double backward", "differentiate twice")
"""Parts of PyTorch's messages for an operator without a second derivative."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypergradient:
    """Validation loss and its derivatives. Values are infinite or NaN if the training diverged."""

    val_loss: float
    gradient: Mapping[str, float]
    """Hyperparameter -> d val_loss / d hyperparameter."""
    num_steps: int
    num_unrolled: int
    """Number of last steps that were differentiated through."""
    num_passes: float
    """Cost in passes over the training data."""


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
    """Train for `epochs` epochs and differentiate the validation loss with respect to the hyperparameters `names`.

    Args:
        run: a training run that has not been started. Its own model is not changed.
        names: hyperparameters, of those in DIFFERENTIABLE.
        label_smoothing: label smoothing of the training loss, if that is among `names`.
        unroll: number of last steps to differentiate through; None for all. A truncated gradient is biased towards small
            learning rates (Wu et al. 2018, https://arxiv.org/abs/1803.02021).

    Raises:
        UsageError: a setting, such as the optimizer or the precision, that cannot be unrolled.
        TaskError: no validation split, a loss without label smoothing, or an operator without a second derivative.
    """
    check_settings(run.settings)
    if run.task.val is None:
        raise TaskError("The task has no validation split, so there is no validation loss to differentiate.")
    training = _Training(run, device, {name: _value(run.settings, name, label_smoothing) for name in names})
    try:
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            return training.differentiate(epochs, unroll=unroll, max_stored_bytes=max_stored_bytes)
    except RuntimeError as error:
        if not any(words in str(error) for words in _NO_SECOND_DERIVATIVE):
            raise
        raise TaskError(
            f"The model has no second derivative: {first_line(error)}",
            hint="Remove search.refine, which differentiates through training steps, and let the sampler search alone.",
        ) from None


def check_settings(settings: TrainerSettings) -> None:
    """Raise UsageError for settings that cannot be unrolled."""
    optimizer = settings.optimizer
    if optimizer not in OPTIMIZERS:
        raise UsageError(
            f"The optimizer must be {' or '.join(OPTIMIZERS)} to differentiate through its steps, not {optimizer!r}.",
            hint='Write optimizer = "sgd" in [space].',
        )
    plain = TrainerSettings()
    for name in NOT_UNROLLED:
        expected, found = getattr(plain, name), getattr(settings, name)
        if found != expected:
            raise UsageError(
                f"{name} must be {expected!r} to differentiate through training steps, not {found!r}.",
                hint=f"Remove {name} from [space].",
            )


@dataclass(slots=True)
class _Moment:
    """The state before one training step."""

    weights: Weights
    momenta: Weights
    buffers: Weights
    random: dict[str, Any]
    batch: Any
    factor: float
    """Factor of the learning-rate schedule."""


class _Training:
    def __init__(self, run: TrainingRun, device: Device, values: Mapping[str, float]) -> None:
        self._run = run
        self._device = device
        self._kind = device.torch_device
        self._values = values
        self._loss = ModelLoss(run.model, ForwardPass(run.task, precision="fp32", device_type=self._kind.type))
        self._augment = augmentation(run.task.augment)
        """Draws from the global random generators, so that the same images are drawn on the way back."""
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
        """Train. Returns the states before the last `num_stored` steps (fewer if memory is short) and the final state."""
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
        """One training step from `moment`. Changes its buffers in place."""
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
        """The validation loss and its derivative with respect to the weights, summed over batches."""
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
            del batch, loss, found  # frees memory for the next batch
        return total / count, {name: total_of / count for name, total_of in sums.items()}

    def _go_back(self, moments: list[_Moment], cotangents: Weights) -> dict[str, float]:
        """Propagate derivatives from the last step to the first: d val_loss / d hyperparameter, by reverse-mode
        differentiation (Franceschi et al. 2017, algorithm 1). `upper` holds the derivatives of the validation loss with
        respect to the weights and momenta after a step."""
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
            # torch.autograd.grad would silently ignore operators without a second derivative.
            torch.autograd.backward(outputs, upper)
            leaves = [*weights.values(), *momenta.values()]
            upper = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
            for name, value in values.items():
                if value.grad is not None:
                    sums[name] += value.grad
        return {name: float(total) for name, total in sums.items()}


def _validation_batches(task: Task, settings: TrainerSettings, device: Device) -> Any:
    is_unlimited = not device.is_gpu and device.limit_bytes is None
    return make_batches(
        task,
        task.val,
        batch_size=max(settings.batch_size, MIN_EVAL_BATCH_SIZE) if is_unlimited else settings.batch_size,
        device=device,
        seed=0,
        shuffle=False,
    )


def _value(settings: TrainerSettings, name: str, label_smoothing: float) -> float:
    """The value of a hyperparameter; the optimizer's default if the settings do not give one."""
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
