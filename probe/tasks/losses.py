"""Loss functions by name: callables (outputs, targets) -> mean over the batch, a scalar tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from probe.errors import TaskError, check_known
from probe.limits import check_values
from probe.tasks.options import OPTIONS

DEFAULT_FOCAL_GAMMA = 2.0
"""The best value of Lin et al. (2017)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationLoss:
    """Focal loss and label smoothing, which may be combined: -sum over classes k of q_k (1 - p_k)^gamma log p_k.

    Args:
        gamma: exponent of the focal loss (Lin et al. 2017), which gives less weight to samples that are classified well; 0 for
            cross-entropy.
        label_smoothing: epsilon of Szegedy et al. (2016): the target q is 1 - epsilon for the right class, plus epsilon spread
            evenly over all classes.

    Raises:
        TaskError: a value is out of range.
    """

    gamma: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_values(OPTIONS, focal_gamma=self.gamma, label_smoothing=self.label_smoothing)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss over all samples, from unnormalized outputs (samples, classes, ...) and targets: class numbers
        (samples, ...), or probabilities of the shape of the outputs."""
        if self.gamma == 0:
            return functional.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)
        log_p = functional.log_softmax(outputs, dim=1)
        # 1 - p without cancellation, kept above zero, where the derivative of a power below 1 is infinite.
        wrong = -torch.expm1(log_p)
        weighted = wrong.clamp_min(torch.finfo(wrong.dtype).eps) ** self.gamma * log_p
        spread = self.label_smoothing / outputs.shape[1]
        if targets.is_floating_point():
            q = targets * (1 - self.label_smoothing) + spread
            return -(q * weighted).sum(dim=1).mean()
        right = weighted.gather(1, targets.unsqueeze(1)).squeeze(1)
        total = right * (1 - self.label_smoothing)
        if spread:
            total = total + weighted.sum(dim=1) * spread
        return -total.mean()


FOCAL = ClassificationLoss(gamma=DEFAULT_FOCAL_GAMMA)


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
    also = "You can also pass a callable (outputs, targets) -> scalar."
    check_known(TaskError, "loss", loss, list(LOSSES), hint=also)
    return LOSSES[loss]
