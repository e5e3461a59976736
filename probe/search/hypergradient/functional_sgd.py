"""torch.optim.SGD as a function: new weights from old ones, differentiable in the weights and in the hyperparameters.

The order is that of THE training step: penalties join the gradient, then it is clipped, then weight decay and momentum are the
optimizer's; decoupled penalties come last. Tests hold it equal to `TrainStep` over torch.optim.SGD.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Weights = dict[str, Tensor]
Scalar = Tensor | float
"""A hyperparameter: a tensor without dimensions where somebody asks for its derivative."""
CLIP_EPSILON = 1e-6
"""Of torch.nn.utils.clip_grad_norm_."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SgdHyperparameters:
    """Those of one step; `lr` has the schedule's factor in it."""

    lr: Scalar
    momentum: Scalar = 0.0
    weight_decay: Scalar = 0.0
    """In the gradient of all weights, biases too, as torch.optim.SGD has it."""
    l1: Scalar = 0.0
    """Penalty l1 * sum |w| over weights with two or more dimensions."""
    l2: Scalar = 0.0
    """Penalty l2 * sum w^2 over the same weights."""
    nesterov: bool = False
    decoupled: bool = False
    """l1 and l2 shrink the weights after the step, instead of joining the gradient."""
    max_grad_norm: float | None = None


def sgd_step(
    weights: Weights, momenta: Weights, gradients: Mapping[str, Tensor | None], given: SgdHyperparameters
) -> tuple[Weights, Weights]:
    """(weights, momentum buffers) after one step; zeros are the buffers before the first. A weight whose gradient is None
    stays as it is."""
    penalized = {
        name: gradient if given.decoupled else _with_penalties(weights[name], gradient, given)
        for name, gradient in gradients.items()
        if gradient is not None
    }
    if given.max_grad_norm is not None:
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in penalized.values()]))
        share = torch.clamp(given.max_grad_norm / (norm + CLIP_EPSILON), max=1.0)
        penalized = {name: gradient * share for name, gradient in penalized.items()}
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
    """The derivative of l1 |w| at zero is taken as zero, as `sign` has it."""
    if weight.dim() < 2:
        return gradient
    return gradient + 2 * given.l2 * weight + given.l1 * weight.detach().sign()


def _shrunk(weight: Tensor, given: SgdHyperparameters) -> Tensor:
    """Decoupled weight decay, then the soft threshold of the l1 penalty."""
    shrunk = weight * (1 - 2 * given.lr * given.l2)
    return shrunk.sign() * torch.relu(shrunk.abs() - given.lr * given.l1)
