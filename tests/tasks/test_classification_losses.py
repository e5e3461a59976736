"""Focal loss and label smoothing, against their formulas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from probe.errors import TaskError
from probe.tasks.losses import ClassificationLoss, loss_function


def made_outputs(scale: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(9, 4, generator=generator), torch.randint(4, (9,), generator=generator)


def test_without_changes_it_is_cross_entropy_and_with_smoothing_pytorchs() -> None:
    outputs, targets = made_outputs()
    torch.testing.assert_close(ClassificationLoss()(outputs, targets), functional.cross_entropy(outputs, targets))
    expected = functional.cross_entropy(outputs, targets, label_smoothing=0.1)
    torch.testing.assert_close(ClassificationLoss(label_smoothing=0.1)(outputs, targets), expected)


@given(gamma=st.floats(0.1, 5), smoothing=st.floats(0, 0.9))
def test_the_formula(gamma: float, smoothing: float) -> None:
    outputs, targets = made_outputs()
    p = outputs.softmax(dim=1)
    q = functional.one_hot(targets, 4) * (1 - smoothing) + smoothing / 4
    expected = -(q * (1 - p) ** gamma * p.log()).sum(dim=1).mean()
    loss = ClassificationLoss(gamma=gamma, label_smoothing=smoothing)
    torch.testing.assert_close(loss(outputs, targets), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(loss(outputs, functional.one_hot(targets, 4).float()), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_gradients_stay_finite_where_a_sample_is_certain(gamma: float) -> None:
    outputs = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    loss = ClassificationLoss(gamma=gamma, label_smoothing=0.1)(outputs, torch.tensor([0, 0]))
    (gradient,) = torch.autograd.grad(loss, outputs)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_the_focal_loss_has_a_name_and_makes_little_of_what_is_known_well() -> None:
    outputs, targets = torch.tensor([[4.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 0])
    focal, plain = loss_function("focal"), loss_function("cross_entropy")
    well, badly = slice(0, 1), slice(1, 2)
    assert focal(outputs[well], targets[well]) < 0.01 * plain(outputs[well], targets[well])
    assert focal(outputs[badly], targets[badly]) > 0.9 * plain(outputs[badly], targets[badly])


@pytest.mark.parametrize("wrong", [{"gamma": -1.0}, {"label_smoothing": 1.0}, {"label_smoothing": float("nan")}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(TaskError, match="must be a number"):
        ClassificationLoss(**wrong)
