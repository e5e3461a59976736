from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from probe.errors import TaskError
from probe.models.hyperparameters import INITIALIZATIONS, NORMALIZATIONS
from probe.models.networks import ACTIVATIONS, Cnn, Mlp

SHARED = {
    "activation": st.sampled_from(sorted(ACTIVATIONS)),
    "dropout": st.sampled_from([0.0, 0.5]),
    "normalization": st.sampled_from(NORMALIZATIONS),
    "initialization": st.sampled_from(INITIALIZATIONS),
}


@settings(deadline=None, max_examples=60)
@given(
    params=st.fixed_dictionaries(
        {
            "layers": st.integers(1, 4),
            "width": st.integers(1, 9),
            "kernel_size": st.sampled_from([1, 3, 5, 7]),
            "hidden": st.integers(1, 9),
            **SHARED,
        }
    ),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)),
)
def test_every_cnn_takes_every_image_and_trains_all_its_parameters(
    params: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    model = Cnn(input_shape=shape, num_outputs=3, **params)
    outputs = model(torch.randn(4, *shape))
    assert outputs.shape == (4, 3)
    outputs.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


@settings(deadline=None, max_examples=40)
@given(
    params=st.fixed_dictionaries({"depth": st.integers(0, 4), "width": st.integers(1, 9), **SHARED}),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
)
def test_every_mlp_takes_every_image(params: dict[str, Any], shape: tuple[int, int, int]) -> None:
    model = Mlp(num_inputs=shape[0] * shape[1] * shape[2], num_outputs=3, **params)
    assert model(torch.randn(4, *shape)).shape == (4, 3)
    assert sum(isinstance(module, nn.Linear) for module in model.modules()) == params["depth"] + 1


def test_channels_double_and_pooling_ends_at_one_pixel() -> None:
    model = Cnn(input_shape=(1, 8, 8), num_outputs=10, layers=4, width=8)
    kernels = [tuple(m.weight.shape) for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [(8, 1, 3, 3), (16, 8, 3, 3), (32, 16, 3, 3), (64, 32, 3, 3)]
    assert sum(isinstance(module, nn.MaxPool2d) for module in model.modules()) == 3


def test_initializations_differ_and_keep_the_size_of_activations() -> None:
    images = torch.randn(64, 1, 8, 8)
    first_weights = []
    for name in INITIALIZATIONS:
        torch.manual_seed(0)
        model = Mlp(num_inputs=64, num_outputs=10, depth=6, width=64, initialization=name)
        first_weights.append(next(iter(model.parameters())).detach().clone())
        spread = float(model(images).std().detach())
        if name != "default":  # PyTorch's own shrinks activations by about 2 a layer (He et al. 2015, section 2.2)
            assert 0.2 < spread < 5
            biases = [m.bias for m in model.modules() if isinstance(m, nn.Linear)]
            assert all(not bool(bias.any()) for bias in biases)
    assert len({float(weights.std()) for weights in first_weights}) == len(INITIALIZATIONS)


def test_orthogonal_rows_are_orthogonal() -> None:
    model = Mlp(num_inputs=32, num_outputs=2, depth=1, width=16, initialization="orthogonal", activation="tanh")
    weights = next(m.weight for m in model.modules() if isinstance(m, nn.Linear))
    torch.testing.assert_close(weights @ weights.T, (5 / 3) ** 2 * torch.eye(16))


def test_equal_seeds_give_equal_networks() -> None:
    outputs = []
    for _ in range(2):
        torch.manual_seed(3)
        outputs.append(Cnn(input_shape=(1, 8, 8), num_outputs=10)(torch.ones(2, 1, 8, 8)))
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("params", "rule"),
    [
        ({"layers": 5}, "layers must be a whole number from 1 to 4, not 5"),
        ({"layers": 2.0}, "layers must be a whole number from 1 to 4, not 2.0"),
        ({"width": 0}, "width must be a whole number from 1 to"),
        ({"hidden": True}, "hidden must be a whole number"),
        ({"kernel_size": 4}, "kernel_size must be 1, 3, 5 or 7, not 4"),
        ({"activation": "rely"}, r"Unknown activation 'rely'.\nDid you mean relu"),
        ({"normalization": "group"}, r"Unknown normalization 'group'.\nKnown: batch, layer, none"),
        ({"initialization": "xavir"}, r"Unknown initialization 'xavir'.\nDid you mean xavier"),
        ({"dropout": 1}, "dropout must be a number from 0 to below 1, not 1"),
        ({"dropout": float("nan")}, "dropout must be a number from 0 to below 1, not nan"),
    ],
)
def test_wrong_hyperparameters(params: dict[str, Any], rule: str) -> None:
    with pytest.raises(TaskError, match=rule):
        Cnn(input_shape=(1, 8, 8), num_outputs=10, **params)


def test_wrong_depth_of_an_mlp() -> None:
    with pytest.raises(TaskError, match="depth must be a whole number from 0 to 64, not -1"):
        Mlp(num_inputs=4, num_outputs=2, depth=-1)
