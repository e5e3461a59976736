"""Loss functions by name: callables (outputs, targets) -> mean over the batch, a scalar tensor."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from probe.errors import TaskError, unknown_name
from probe.tasks.losses import FOCAL

LossFunction = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[str, LossFunction] = {
    "cross_entropy": functional.cross_entropy,
    "focal": FOCAL,
    "nll": functional.nll_loss,
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "smooth_l1": functional.smooth_l1_loss,
    "bce_with_logits": functional.binary_cross_entropy_with_logits,
}


def loss_function(loss: str | LossFunction) -> LossFunction:
    """The loss function with this name, or `loss` itself if it is callable. Raises TaskError for an unknown name."""
    if callable(loss):
        return loss
    if loss not in LOSSES:
        message, hint = unknown_name("loss", loss, list(LOSSES))
        raise TaskError(message, hint=f"{hint} You can also pass a callable (outputs, targets) -> scalar.")
    return LOSSES[loss]
