"""Unrolled training equals training, and its derivative equals finite differences of training."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tasks import Words, made_data, made_task, pad
from torch import nn
from torch.nn import functional

import probe
from probe.device.cpu import CpuDevice
from probe.errors import TaskError, UsageError
from probe.search.hypergradient.functional import SgdHyperparameters, sgd_step, smoothed_cross_entropy
from probe.search.hypergradient.steps import UNROLLED_COST
from probe.search.hypergradient.unrolled import DIFFERENTIABLE, Hypergradient, hypergradient
from probe.tasks.losses import ClassificationLoss
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings

EPOCHS = 2
TRAINED: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05, "batch_size": 16, "epochs": EPOCHS}


def smooth_net(normalization: bool = False, dropout: float = 0.3) -> nn.Module:
    norm = [nn.BatchNorm1d(8)] if normalization else []
    return nn.Sequential(nn.Linear(6, 8), *norm, nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3)).double()


def double_task(label_smoothing: float = 0.0, *, normalization: bool = False) -> probe.Task:
    """In float64. Smoothing is the training's alone."""

    def forward(model: nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = model(batch[0])
        smoothing = label_smoothing if model.training else 0.0
        return functional.cross_entropy(outputs, batch[1], label_smoothing=smoothing), outputs

    (inputs, targets), (val_inputs, val_targets) = made_data(90), made_data(40, seed=1)
    return made_task(
        model=lambda: smooth_net(normalization),
        train=(inputs.double(), targets),
        val=(val_inputs.double(), val_targets),
        forward=forward,
    )


def trained_loss(task: probe.Task, given: dict[str, Any], seed: int = 3) -> float:
    """By the training that every search does."""
    run = TrainingRun(task, TrainerSettings(**given), device=CpuDevice(), seed=seed)
    reports = [run.run_epoch() for _ in range(EPOCHS)]
    assert reports[-1] is not None
    assert reports[-1].val_loss is not None
    return reports[-1].val_loss


def derived(task: probe.Task, given: dict[str, Any], names: tuple[str, ...], **options: Any) -> Hypergradient:
    run = TrainingRun(task, TrainerSettings(**given), device=CpuDevice(), seed=3)
    return hypergradient(run, names, epochs=EPOCHS, device=CpuDevice(), **options)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "weight_decay": 0.01},
        {"optimizer": "nesterov"},
        {"optimizer": "nesterov", "momentum": 0.5, "weight_decay": 0.1},
        {"l1": 0.01, "l2": 0.02, "momentum": 0.5},
        {"l1": 0.01, "l2": 0.02, "decoupled": True, "momentum": 0.5, "weight_decay": 0.01},
        {"max_grad_norm": 0.3, "l2": 0.1},
        {"lr_schedule": "one-cycle", "momentum": 0.8},
    ],
    ids=lambda given: " ".join(f"{name}={value}" for name, value in given.items()) or "plain",
)
def test_unrolled_training_is_the_training_of_a_trial(given: dict[str, Any]) -> None:
    given = TRAINED | given
    found = derived(double_task(), given, ("lr",))
    assert found.val_loss == pytest.approx(trained_loss(double_task(), given), rel=1e-10)
    assert found.num_steps == found.num_unrolled == EPOCHS * 6


@settings(deadline=None, max_examples=50)
@given(
    lr=st.floats(1e-3, 1.0),
    momentum=st.floats(0, 0.99),
    weight_decay=st.floats(0, 0.5),
    nesterov=st.booleans(),
    num_steps=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_functional_steps_are_those_of_torch_sgd(
    lr: float, momentum: float, weight_decay: float, nesterov: bool, num_steps: int, seed: int
) -> None:
    nesterov = nesterov and momentum > 0  # PyTorch refuses the one without the other
    generator = torch.Generator().manual_seed(seed)
    start = {"w": torch.randn(3, 2, generator=generator).double(), "b": torch.randn(2, generator=generator).double()}
    parameters = {name: nn.Parameter(value.clone()) for name, value in start.items()}
    optimizer = torch.optim.SGD(
        parameters.values(), lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov
    )
    given = SgdHyperparameters(lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
    weights, momenta = dict(start), {name: torch.zeros_like(value) for name, value in start.items()}
    for _ in range(num_steps):
        gradients = {name: torch.randn(value.shape, generator=generator).double() for name, value in start.items()}
        for name, parameter in parameters.items():
            parameter.grad = gradients[name].clone()
        optimizer.step()
        weights, momenta = sgd_step(weights, momenta, gradients, given)
    for name, parameter in parameters.items():
        assert torch.allclose(weights[name], parameter.detach(), rtol=1e-10, atol=1e-12)


def test_a_weight_without_a_gradient_stays() -> None:
    weights = {"used": torch.ones(2, 2), "unused": torch.ones(2, 2)}
    momenta = {name: torch.zeros(2, 2) for name in weights}
    new, _ = sgd_step(
        weights, momenta, {"used": torch.ones(2, 2), "unused": None}, SgdHyperparameters(lr=0.1, weight_decay=0.5)
    )
    assert torch.equal(new["unused"], weights["unused"])
    assert torch.allclose(new["used"], torch.full((2, 2), 0.85))


@pytest.mark.parametrize("name", [name for name in DIFFERENTIABLE if name != "label_smoothing"])
@pytest.mark.parametrize("optimizer", ["sgd", "nesterov"])
def test_derivatives_equal_finite_differences_of_training(name: str, optimizer: str) -> None:
    """With dropout, whose masks are the training's own, momentum, all penalties and a schedule."""
    given = TRAINED | {
        "optimizer": optimizer,
        "momentum": 0.6,
        "weight_decay": 0.02,
        "l1": 0.003,
        "l2": 0.01,
        "lr_schedule": "cosine",
        "max_grad_norm": 5.0,
    }
    found = derived(double_task(), given, (name,))
    value, step = given[name], 1e-5 * given[name]
    above, below = (trained_loss(double_task(), given | {name: value + sign * step}) for sign in (1, -1))
    assert found.gradient[name] == pytest.approx((above - below) / (2 * step), rel=1e-4)


def test_a_training_loss_of_its_own_and_augmentation_are_unrolled_as_they_are_trained() -> None:
    def noisy(batch: Any) -> Any:
        return batch[0] + 0.2 * torch.randn_like(batch[0]), batch[1]

    task = replace(
        double_task(), forward=None, train_loss=ClassificationLoss(gamma=2.0, label_smoothing=0.1), augment=noisy
    )
    given = TRAINED | {"momentum": 0.6}
    found = derived(task, given, ("lr",))
    assert found.val_loss == pytest.approx(trained_loss(task, given), rel=1e-10)
    above, below = (trained_loss(task, given | {"lr": 0.05 + sign * 1e-6}) for sign in (1, -1))
    assert found.gradient["lr"] == pytest.approx((above - below) / 2e-6, rel=1e-4)


def test_the_derivative_of_label_smoothing_is_that_of_a_smoothed_training() -> None:
    given = TRAINED | {"momentum": 0.6}
    found = derived(double_task(0.1), given, ("label_smoothing", "lr"), label_smoothing=0.1)
    above, below = (trained_loss(double_task(0.1 + sign * 1e-5), given) for sign in (1, -1))
    assert found.gradient["label_smoothing"] == pytest.approx((above - below) / 2e-5, rel=1e-4)
    assert found.val_loss == pytest.approx(trained_loss(double_task(0.1), given), rel=1e-10)


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_decoupled_penalties_and_active_clipping_are_differentiated_too(name: str) -> None:
    given = TRAINED | {"momentum": 0.6, "l1": 0.02, "l2": 0.05, "decoupled": True, "max_grad_norm": 0.5}
    found = derived(double_task(), given, (name, "lr"))
    for of in (name, "lr"):
        step = 1e-6 * given[of]
        above, below = (trained_loss(double_task(), given | {of: given[of] + sign * step}) for sign in (1, -1))
        assert found.gradient[of] == pytest.approx((above - below) / (2 * step), rel=1e-3)


def test_with_batch_normalization_running_statistics_are_the_trainings_and_the_derivative_is_close() -> None:
    """They are taken as constants: the sign and the size of the derivative survive, its digits do not."""
    task, given = double_task(normalization=True), TRAINED | {"momentum": 0.6, "l2": 0.01}
    found = derived(task, given, ("lr", "l2"))
    assert found.val_loss == pytest.approx(trained_loss(task, given), rel=1e-10)
    for name in ("lr", "l2"):
        step = 1e-5 * given[name]
        above, below = (trained_loss(task, given | {name: given[name] + sign * step}) for sign in (1, -1))
        assert found.gradient[name] == pytest.approx((above - below) / (2 * step), rel=0.5)


def test_a_truncated_derivative_goes_through_the_last_steps_only() -> None:
    whole = derived(double_task(), TRAINED | {"l2": 0.1}, ("l2",))
    last = derived(double_task(), TRAINED | {"l2": 0.1}, ("l2",), unroll=4)
    assert last.val_loss == whole.val_loss
    assert (last.num_steps, last.num_unrolled) == (12, 4)
    assert 0 < abs(last.gradient["l2"]) < abs(whole.gradient["l2"])
    # What does not fit into memory is not unrolled.
    little = derived(double_task(), TRAINED | {"l2": 0.1}, ("l2",), max_stored_bytes=4000)
    assert 1 <= little.num_unrolled < 4


def test_the_cost_counts_the_way_back() -> None:
    whole = derived(double_task(), TRAINED, ("lr",))
    assert whole.num_passes == UNROLLED_COST * EPOCHS
    half = derived(double_task(), TRAINED, ("lr",), unroll=6)
    assert half.num_passes == EPOCHS + (UNROLLED_COST - 1) * 1


def test_forward_and_backward_calls_are_what_the_cost_says() -> None:
    """One call of the model a step on the way there, one on the way back; the rest is that one's second derivative."""
    calls = 0

    class Counted(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            calls += self.training
            return super().forward(inputs)

    found = derived(made_task(model=lambda: Counted(6, 3)), TRAINED, ("lr",))
    assert calls == found.num_steps + found.num_unrolled


def test_the_model_of_the_run_is_left_alone_and_frozen_weights_stay() -> None:
    def half_frozen() -> nn.Module:
        model = smooth_net(normalization=True)
        next(model.parameters()).requires_grad_(False)
        return model

    (inputs, targets), (val_inputs, val_targets) = made_data(90), made_data(40, seed=1)
    task = made_task(model=half_frozen, train=(inputs.double(), targets), val=(val_inputs.double(), val_targets))
    run = TrainingRun(task, TrainerSettings(**TRAINED), device=CpuDevice(), seed=3)
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    found = hypergradient(run, ("lr",), epochs=EPOCHS, device=CpuDevice())
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.model.state_dict().items())
    assert found.val_loss == pytest.approx(trained_loss(task, TRAINED), rel=1e-10)


def test_batches_of_any_shape_and_a_collate_function() -> None:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.out = nn.Embedding(20, 4), nn.Linear(4, 2)

        def forward(self, words: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.out(self.embedding(words).mean(dim=1))
            return out

    task = made_task(model=Bag, train=Words(), val=Words(), collate=pad, metrics={})
    given = TRAINED | {"batch_size": 8}
    assert derived(task, given, ("lr",)).val_loss == pytest.approx(trained_loss(task, given), rel=1e-5)


def test_a_training_that_diverges_has_no_derivative() -> None:
    found = derived(
        made_task(model=lambda: nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 3))), TRAINED | {"lr": 1e29}, ("lr",)
    )
    assert not math.isfinite(found.val_loss)
    assert math.isnan(found.gradient["lr"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimizer": "adam"}, "optimizer .*sgd or nesterov.*'adam'"),
        ({"precision": "bf16"}, "precision .*'fp32'.*'bf16'"),
        ({"gradient_accumulation": 2}, "gradient_accumulation .*1.*2"),
        ({"activation_checkpointing": True}, "activation_checkpointing .*False.*True"),
    ],
)
def test_what_is_not_unrolled_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        derived(made_task(), TRAINED | given, ("lr",))


def test_no_validation_part_an_unknown_name_and_another_smoothing_are_refused() -> None:
    with pytest.raises(TaskError, match="no validation split"):
        derived(made_task(val=None), TRAINED, ("lr",))
    with pytest.raises(UsageError, match="no derivative with respect to width"):
        derived(made_task(), TRAINED, ("width",))
    with pytest.raises(TaskError, match="label_smoothing"):
        derived(double_task(0.3), TRAINED, ("label_smoothing",), label_smoothing=0.1)


def test_an_operator_without_a_second_derivative_is_named() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, inputs: torch.Tensor) -> torch.Tensor:
            return inputs.clone()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return 1.0 * gradient

    class Model(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = Once.apply(super().forward(inputs))
            return out

    with pytest.raises(TaskError, match="The model has no second derivative: trying to differentiate twice"):
        derived(made_task(model=lambda: Model(6, 3)), TRAINED, ("lr",))


@settings(deadline=None, max_examples=40)
@given(smoothing=st.floats(0, 0.9), seed=st.integers(0, 99))
def test_smoothed_cross_entropy_is_pytorchs(smoothing: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    targets = torch.randint(4, (7,), generator=generator)
    expected = functional.cross_entropy(outputs, targets, label_smoothing=smoothing)
    assert torch.allclose(smoothed_cross_entropy(outputs, targets, smoothing, should_equal=expected), expected)
