"""L1 and L2 penalties, added to the gradient or applied to the weights.

They apply to parameters with two or more dimensions, not to biases, norms and scalars (Goodfellow, Bengio & Courville 2016,
section 7.1). They are not part of the reported loss.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from probe.training.settings import TrainerSettings


def is_penalized(weight: torch.Tensor) -> bool:
    """Whether penalties apply to this parameter."""
    return weight.dim() >= 2


def add_to_gradients(optimizer: torch.optim.Optimizer, settings: TrainerSettings) -> None:
    """Add the derivative of l1 * sum |w| + l2 * sum w^2 to the gradients."""
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
    """Apply decoupled penalties: shrink weights by the factor 1 - 2 * lr * l2 (Loshchilov & Hutter 2019) and soft-threshold
    them at lr * l1 (the proximal step of Duchi & Singer 2009), which sets weights to exactly zero."""
    with torch.no_grad():
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if weight.grad is None or not is_penalized(weight):
                    continue
                if settings.l2:
                    weight.mul_(1 - 2 * group["lr"] * settings.l2)
                if settings.l1:
                    weight.copy_(functional.softshrink(weight, group["lr"] * settings.l1))
