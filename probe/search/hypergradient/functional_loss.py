"""A task's loss as a function of weights, for torch.func; and cross entropy as a function of its label smoothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from probe.errors import TaskError
from probe.training.step import ForwardPass


class ModelLoss(nn.Module):
    """The model and its loss as one module, so that a task's own `forward` is called with the model in it: in training mode the
    loss that training minimizes, in evaluation mode the one that is reported."""

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
    """Cross entropy with a share `smoothing` of each target spread evenly over all classes (Szegedy et al. 2016,
    https://arxiv.org/abs/1512.00567), as torch.nn.functional.cross_entropy has it, but differentiable in that share.

    `should_equal`: the task's own loss with that share. Raises TaskError where it is another, or no classification at all.
    """
    if (
        not isinstance(outputs, Tensor)
        or outputs.dim() < 2
        or not isinstance(targets, Tensor)
        or targets.is_floating_point()
    ):
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
        "label_smoothing of this task is not that of cross entropy over classes, so its derivative is not known.",
        hint="Leave it out of search.refine.hyperparameters.",
    )
