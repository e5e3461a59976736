"""Loss functions of classification beyond plain cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from probe.tasks.options import check_option

DEFAULT_FOCAL_GAMMA = 2.0
"""What Lin et al. found best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationLoss:
    """Cross-entropy with two changes, which may be combined: -sum over classes k of q_k (1 - p_k)^gamma log p_k.

    `gamma` > 0 is the focal loss (Lin et al. 2017): samples that are classified well already count less. With `label_smoothing`
    epsilon (Szegedy et al. 2016) the target q is 1 - epsilon for the right class, and epsilon is shared by all classes evenly.
    Raises TaskError for a value out of range.
    """

    gamma: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_option("focal_gamma", self.gamma)
        check_option("label_smoothing", self.label_smoothing)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """outputs: (samples, classes, ...), unnormalized; targets: class numbers (samples, ...), or probabilities of the
        outputs' shape. The mean over the samples."""
        if self.gamma == 0:
            return functional.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)
        log_p = functional.log_softmax(outputs, dim=1)
        # 1 - p without cancellation; kept from zero, where the derivative of a power below 1 is infinite.
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
