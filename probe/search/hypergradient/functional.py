"""Loss and SGD step as functions that can be differentiated twice.

`sgd_step` follows the order of `probe.training.step.TrainStep`: penalties are added to the gradient, then it is clipped, then
weight decay and momentum are applied as in torch.optim.SGD; decoupled penalties come last. Tests compare the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from probe.errors import TaskError
from probe.training.step import ForwardPass

Weights = dict[str, Tensor]
Scalar = Tensor | float
"""A hyperparameter: a zero-dimensional tensor if it is differentiated, a number otherwise."""
CLIP_EPSILON = 1e-6
"""The epsilon of torch.nn.utils.clip_grad_norm_."""


class ModelLoss(nn.Module):
    """The model and its loss as one module, which calls the task's own `forward` with the model. In training mode it
    returns the loss that training minimizes, in evaluation mode the loss that is reported."""

    def __init__(self, model: nn.Module, forward: ForwardPass) -> None:
        super().__init__()
        self.model = model
        self._forward = forward

    def forward(self, batch: Any) -> tuple[Tensor, Any]:
        if not self.training:
            return self._forward(self.model, batch)
        loss, _, outputs = self._forward.train(self.model, batch)
        return loss, outputs


def smoothed_cross_entropy(
    outputs: Any, targets: Any, smoothing: Tensor | float, *, should_equal: Tensor | None = None
) -> Tensor:
    """Cross entropy with label smoothing, differentiable in `smoothing`.

    The values are those of torch.nn.functional.cross_entropy: a fraction `smoothing` of each target is spread evenly
    over all classes (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567). `outputs` has shape (samples, classes,
    ...), and `targets`, the class numbers, (samples, ...). Raises TaskError for other values, and if the task's own
    loss, `should_equal`, differs.
    """
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        raise _not_smoothed()
    if outputs.dim() < 2 or targets.is_floating_point():
        raise _not_smoothed()
    plain = functional.cross_entropy(outputs, targets)
    even = -functional.log_softmax(outputs, dim=1).mean()
    smoothed = (1 - smoothing) * plain + smoothing * even
    if should_equal is not None:
        own, ours = should_equal.detach().double(), smoothed.detach().double()
        if not torch.allclose(own, ours, rtol=1e-3, atol=1e-6, equal_nan=True):
            raise _not_smoothed()
    return smoothed


def _not_smoothed() -> TaskError:
    return TaskError(
        "The loss of this task is not cross entropy with label_smoothing, so its derivative is unknown.",
        hint="Remove label_smoothing from search.refine.hyperparameters.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SgdHyperparameters:
    """Hyperparameters of one step. `lr` includes the factor of the learning-rate schedule."""

    lr: Scalar
    momentum: Scalar = 0.0
    weight_decay: Scalar = 0.0
    l1: Scalar = 0.0
    """Factor of the penalty l1 * sum |w| over weights with two or more dimensions."""
    l2: Scalar = 0.0
    """Factor of the penalty l2 * sum w^2 over the same weights."""
    nesterov: bool = False
    decoupled: bool = False
    """Whether l1 and l2 shrink the weights after the step instead of being added to the gradient."""
    max_grad_norm: float | None = None


def sgd_step(
    weights: Weights, momenta: Weights, gradients: Mapping[str, Tensor | None], given: SgdHyperparameters
) -> tuple[Weights, Weights]:
    """One step of SGD: returns (weights, momenta) after it. Momenta are zeros before the first step. A weight whose
    gradient is None does not change."""
    # 1. Penalties are part of the gradient unless they are decoupled.
    penalized = {
        name: gradient if given.decoupled else _with_penalties(weights[name], gradient, given)
        for name, gradient in gradients.items()
        if gradient is not None
    }
    # 2. The gradient is scaled down to max_grad_norm.
    if given.max_grad_norm is not None:
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in penalized.values()]))
        factor = torch.clamp(given.max_grad_norm / (norm + CLIP_EPSILON), max=1.0)
        penalized = {name: gradient * factor for name, gradient in penalized.items()}
    # 3. Weight decay, momentum and the update, as in torch.optim.SGD; then decoupled penalties.
    new_weights, new_momenta = dict(weights), dict(momenta)
    for name, gradient in penalized.items():
        weight = weights[name]
        gradient = gradient + given.weight_decay * weight
        moving = given.momentum * momenta[name] + gradient
        step = gradient + given.momentum * moving if given.nesterov else moving
        new = weight - given.lr * step
        new_weights[name] = _shrunk(new, given) if given.decoupled and weight.dim() >= 2 else new
        new_momenta[name] = moving
    return new_weights, new_momenta


def _with_penalties(weight: Tensor, gradient: Tensor, given: SgdHyperparameters) -> Tensor:
    """Add the derivatives of both penalties. The derivative of |w| at zero is zero, as for `sign`."""
    if weight.dim() < 2:
        return gradient
    return gradient + 2 * given.l2 * weight + given.l1 * weight.detach().sign()


def _shrunk(weight: Tensor, given: SgdHyperparameters) -> Tensor:
    """Decoupled weight decay (l2), then the soft threshold (l1)."""
    shrunk = weight * (1 - 2 * given.lr * given.l2)
    return shrunk.sign() * torch.relu(shrunk.abs() - given.lr * given.l1)
