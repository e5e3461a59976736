from __future__ import annotations

import inspect

import pytest
import torch
import torchvision.models
from torch import nn

from probe.errors import TaskError
from probe.limits import BOOLEAN, OneOf, Rules
from probe.models.networks import ACTIVATIONS
from probe.models.registry import (
    ALIASES,
    BuiltIn,
    build_model,
    check_hyperparameters,
    check_images,
    check_kind,
    model_names,
    model_rules,
    resolve_model,
)
from probe.models.registry import BUILT_IN as BUILT_IN_NETWORKS
from probe.models.torchvision_models import GrayToColor
from probe.models.torchvision_names import torchvision_names

BUILT_IN = {"mlp", "cnn", "lstm", "text-embedding", "text-mlp", "text-transformer"}

# The smallest of each of torchvision's families. RegNet is missing: it computes its widths with tensors when it is built.
FAMILIES = [
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t"),
    *("mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1"),
    *("swin_t", "swin_v2_t", "vgg11", "vit_b_32"),
]


def test_every_torchvision_classifier_and_every_alias_has_a_name() -> None:
    names = model_names()
    classifiers = torchvision.models.list_models(module=torchvision.models)
    assert set(classifiers) <= set(names)
    assert {resolve_model(name) for name in names} == {*classifiers, *BUILT_IN}
    assert all(target in classifiers for target in ALIASES.values())


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("densenet", "densenet121"),
        ("resnet", "resnet50"),
        ("vit", "vit_b_16"),
        ("ResNet18", "resnet18"),
        ("cnn", "cnn"),
    ],
)
def test_short_names(short: str, full: str) -> None:
    assert resolve_model(short) == full


def test_an_unknown_model_names_similar_ones() -> None:
    with pytest.raises(TaskError, match=r"Unknown model 'resnet19'.\nDid you mean resnet1"):
        resolve_model("resnet19")


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvision_models_are_built_with_the_dropout_that_they_have(name: str) -> None:
    params = {"dropout": 0.25} if "dropout" in model_rules(name) else {}
    with torch.device("meta"):
        model = build_model(name, num_outputs=7, input_shape=(3, 224, 224), params=params)
    if params and name.startswith("densenet"):
        assert model.features.denseblock1.denselayer1.drop_rate == 0.25  # type: ignore[union-attr]  # torchvision's names
    elif params:
        assert 0.25 in {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    else:
        assert not [module for module in model.modules() if isinstance(module, nn.Dropout) and module.p]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("googlenet", (3, 32, 32)),  # auxiliary outputs in training
        ("inception", (3, 80, 80)),  # the same
        ("vit_b_32", (3, 64, 64)),  # a fixed image size
        ("swin", (3, 40, 40)),
        ("resnet18", (1, 32, 32)),  # gray images
    ],
)
def test_training_outputs_are_one_tensor_of_class_scores(name: str, shape: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        model = build_model(name, num_outputs=7, input_shape=shape, params={})
        assert model.train()(torch.empty(2, *shape)).shape == (2, 7)


def test_gray_images_look_the_same_in_all_three_channels() -> None:
    first = nn.Conv2d(3, 1, 1, bias=False)
    nn.init.ones_(first.weight)
    images = torch.randn(2, 1, 4, 4)
    torch.testing.assert_close(GrayToColor(first)(images), 3 * images)


def test_regnet_is_built() -> None:
    model = build_model("regnet", num_outputs=3, input_shape=(3, 32, 32), params={})
    assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


def test_hyperparameters_of_named_models() -> None:
    assert "width" in model_rules("mlp")
    assert set(model_rules("cnn")) >= {"layers", "width", "activation", "dropout", "normalization", "initialization"}
    assert model_rules("resnet18") == {}
    assert set(model_rules("vgg")) == {"dropout"}
    with pytest.raises(TaskError, match=r"Unknown hyperparameter of cnn: 'widht'.\nDid you mean width\?"):
        check_hyperparameters("cnn", {"widht": 8})
    with pytest.raises(TaskError, match=r"Unknown hyperparameter of resnet18: 'width'.\nKnown: \(none\)"):
        check_hyperparameters("resnet18", {"width": 8})


@pytest.mark.parametrize("dropout", [1.0, -0.1, "half", True])
def test_dropout_of_torchvision_models_is_checked(dropout: object) -> None:
    with pytest.raises(TaskError, match="dropout must be a number from 0 to below 1"):
        build_model("vgg11", num_outputs=2, input_shape=(3, 32, 32), params={"dropout": dropout})


@pytest.mark.parametrize(
    ("name", "shape", "rule"),
    [
        ("vit", (3, 100, 100), "square images of a multiple of 16 pixels, not 100 x 100"),
        ("vit_b_32", (3, 64, 32), "square images of a multiple of 32 pixels, not 64 x 32"),
        ("vit_h_14", (3, 224, 225), "square images of a multiple of 14 pixels"),
        ("maxvit", (3, 256, 256), "images of a multiple of 224 pixels"),
        ("densenet", (1, 8, 8), "images of at least 29 x 29 pixels, not 8 x 8"),
        ("inception", (3, 64, 64), "images of at least 75 x 75 pixels"),
        ("resnet", (2, 64, 64), "images with 1 or 3 channels, not 2"),
    ],
)
def test_images_that_a_model_cannot_take(name: str, shape: tuple[int, int, int], rule: str) -> None:
    with pytest.raises(TaskError, match=rule):
        check_images(name, shape)


def test_built_in_models_take_any_images() -> None:
    for name in ("mlp", "cnn"):
        check_images(name, (5, 1, 3))
        model = build_model(name, num_outputs=4, input_shape=(5, 1, 3), params={})
        assert model(torch.zeros(2, 5, 1, 3)).shape == (2, 4)


def test_kinds_of_data_that_a_model_cannot_take() -> None:
    for name in ("mlp", "cnn", "resnet18"):
        check_kind(name, "images")
    check_kind("mlp", "table")
    with pytest.raises(TaskError, match=r"cnn cannot take the rows of a table.\nModels that can: mlp\."):
        check_kind("cnn", "table")
    check_kind("lstm", "series")
    with pytest.raises(
        TaskError, match=r"lstm cannot take images.\nModels that can: cnn, mlp and torchvision's, like resnet18"
    ):
        check_kind("lstm", "images")
    with pytest.raises(TaskError, match=r"resnet18 cannot take windows of a series.\nModels that can: .*mlp"):
        check_kind("resnet18", "series")


def test_a_new_network_needs_its_module_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN_NETWORKS, "linear", BuiltIn("fake_network", "Linear", ("table",), {"bias": BOOLEAN}))
    assert set(model_rules("linear")) == {"bias"}
    assert "linear" in model_names()
    model = build_model("linear", num_outputs=2, input_shape=(3,), params={"bias": False})
    assert model(torch.zeros(5, 3)).shape == (5, 2)
    with pytest.raises(TaskError, match="linear cannot take images"):
        check_kind("linear", "images")


FROM_DATA = {"self", "num_inputs", "input_shape", "num_outputs", "vocabulary_size"}


@pytest.mark.parametrize("name", BUILT_IN_NETWORKS)
def test_the_rules_of_a_network_are_its_keywords_and_allow_their_defaults(name: str) -> None:
    parameters = inspect.signature(BUILT_IN_NETWORKS[name].network).parameters
    rules: Rules = model_rules(name)
    assert list(rules) == [key for key in parameters if key not in FROM_DATA]
    for key, rule in rules.items():
        assert rule.allows(parameters[key].default)
        assert not any(rule.allows(value) for value in (-1, 1e9, "nothing", None, float("nan")))


def test_a_network_has_a_layer_for_every_name_that_its_rules_allow() -> None:
    rule = model_rules("mlp")["activation"]
    assert isinstance(rule, OneOf)
    assert set(rule.values) == set(ACTIVATIONS)


def test_the_names_of_torchvisions_models_are_read_without_its_import() -> None:
    assert list(torchvision_names()) == torchvision.models.list_models(module=torchvision.models)
