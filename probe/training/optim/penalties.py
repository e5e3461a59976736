"""L1 and L2 penalties, added to the gradient or applied to the weights.

Weights are parameters with two or more dimensions: biases, norms and scalars are spared, as is usual
(Goodfellow, Bengio & Courville 2016, section 7.1). Penalties never appear in the reported loss.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from probe.training.settings import TrainerSettings


def is_penalized(weight: torch.Tensor) -> bool:
    return weight.dim() >= 2


def add_to_gradients(optimizer: torch.optim.Optimizer, settings: TrainerSettings) -> None:
    """Add the derivative of l1 * sum |w| + l2 * sum w^2 to every weight's gradient."""
    with torch.no_grad():
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if weight.grad is None or not is_penalized(weight):
                    continue
                if settings.l2:
                    weight.grad.add_(weight, alpha=2 * settings.l2)
                if settings.l1:
                    weight.grad.add_(weight.sign(), alpha=settings.l1)


def apply_to_weights(optimizer: torch.optim.Optimizer, settings: TrainerSettings) -> None:
    """Decoupled: shrink by lr * 2 * l2 (Loshchilov & Hutter 2019) and soft-threshold by lr * l1 (the proximal step of
    Duchi & Singer 2009), which leaves exact zeros."""
    with torch.no_grad():
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if weight.grad is None or not is_penalized(weight):
                    continue
                if settings.l2:
                    weight.mul_(1 - 2 * group["lr"] * settings.l2)
                if settings.l1:
                    weight.copy_(functional.softshrink(weight, group["lr"] * settings.l1))
