from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from probe.batch.prediction.build_memory_model import build_memory_model
from probe.batch.prediction.memory_model import MemoryModel
from probe.errors import TaskError
from probe.models.hyperparameters import INITIALIZATIONS, NORMALIZATIONS
from probe.models.networks import ACTIVATIONS
from probe.models.registry import build_model, check_kind, model_rules
from probe.models.text_networks import (
    BagOfWords,
    MeanEmbedding,
    TextEmbedding,
    TextMlp,
    without_repetitions,
)
from probe.task import Task

VOCABULARY = 12
LENGTH = 6
SMALL: dict[str, dict[str, Any]] = {
    "text-mlp": {"width": 5, "activation": "tanh"},
    "text-embedding": {"width": 5, "embedding": 4, "activation": "tanh"},
    "text-transformer": {"embedding": 8, "heads": 2, "layers": 2},
}

texts = st.lists(
    st.lists(st.integers(1, VOCABULARY - 1), max_size=LENGTH).map(lambda ids: ids + [0] * (LENGTH - len(ids))),
    min_size=1,
    max_size=4,
).map(torch.tensor)


def small(name: str, **params: Any) -> nn.Module:
    torch.manual_seed(0)
    chosen = SMALL[name] | params
    return build_model(name, num_outputs=3, input_shape=(LENGTH,), vocabulary_size=VOCABULARY, params=chosen)


def bags(tokens: Tensor, *, binary: bool) -> Tensor:
    """The bags of words themselves, (N, VOCABULARY), without padding."""
    counts = torch.stack([torch.bincount(row, minlength=VOCABULARY) for row in tokens])
    counts[:, 0] = 0
    return counts.clamp_max(1).float() if binary else counts.float()


@settings(deadline=None, max_examples=40)
@given(tokens=texts, binary=st.booleans())
def test_a_bag_of_words_layer_is_a_linear_layer_over_the_bags(tokens: Tensor, binary: bool) -> None:
    torch.manual_seed(0)
    layer = BagOfWords(vocabulary_size=VOCABULARY, width=5, binary=binary, initialization="default", activation="relu")
    linear = nn.Linear(VOCABULARY, 5)
    with torch.no_grad():
        linear.weight.copy_(layer.columns.weight.T)
        linear.bias.copy_(layer.bias)
    ours, theirs = layer(tokens), linear(bags(tokens, binary=binary))
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    assert layer.columns.weight.grad is not None
    assert linear.weight.grad is not None
    torch.testing.assert_close(layer.columns.weight.grad, linear.weight.grad.T)
    torch.testing.assert_close(layer.bias.grad, linear.bias.grad)


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_weights_of_a_bag_of_words_are_drawn_as_those_of_a_linear_layer(initialization: str) -> None:
    torch.manual_seed(0)
    layer = BagOfWords(vocabulary_size=2000, width=50, binary=True, initialization=initialization, activation="relu")
    # The deviation over 2,000 inputs and 50 outputs, PyTorch's default being uniform within 1 / sqrt(inputs).
    expected = {
        "default": (1 / 2000 / 3) ** 0.5,
        "kaiming": (2 / 2000) ** 0.5,
        "xavier": (2 * 2 / 2050) ** 0.5,
        "orthogonal": (2 / 2000) ** 0.5,
    }
    assert float(layer.columns.weight[1:].detach().std()) == pytest.approx(expected[initialization], rel=0.05)
    assert not bool(layer.columns.weight[0].any())


@settings(deadline=None, max_examples=40)
@given(tokens=texts)
def test_repetitions_become_padding(tokens: Tensor) -> None:
    kept = without_repetitions(tokens)
    for before, after in zip(tokens.tolist(), kept.tolist(), strict=True):
        assert sorted(token for token in after if token) == sorted({token for token in before if token})


def test_a_mean_embedding_is_the_mean_of_the_words_and_zero_without_any() -> None:
    layer = MeanEmbedding(vocabulary_size=VOCABULARY, dimension=3)
    rows = layer.embeddings.weight
    outputs = layer(torch.tensor([[4, 7, 4, 0, 0], [0, 0, 0, 0, 0]]))
    torch.testing.assert_close(outputs, torch.stack([(2 * rows[4] + rows[7]) / 3, torch.zeros(3)]))


@pytest.mark.parametrize("name", SMALL)
@settings(deadline=None, max_examples=15)
@given(tokens=texts)
def test_padding_and_neighbours_change_nothing(name: str, tokens: Tensor) -> None:
    model = small(name).eval()
    whole = model(tokens)
    assert whole.shape == (len(tokens), 3)
    assert bool(whole.isfinite().all())
    for row, output in zip(tokens, whole, strict=True):
        num_words = int((row > 0).sum())
        alone = model(row[None, : max(1, num_words)])
        torch.testing.assert_close(alone[0], output, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_what_stands_in_the_padding_row_changes_nothing_and_is_never_trained(name: str) -> None:
    model = small(name).train()
    tokens = torch.tensor([[3, 5, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    model(tokens).square().sum().backward()
    tables = [m for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))]
    assert len(tables) == 1
    assert tables[0].weight.grad is not None
    assert not bool(tables[0].weight.grad[0].any())
    assert bool(tables[0].weight.grad[3].any())
    changed = copy.deepcopy(model).eval()
    [table] = [m for m in changed.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))]
    with torch.no_grad():
        table.weight[0] += 100
    torch.testing.assert_close(changed(tokens), model.eval()(tokens))


@settings(deadline=None, max_examples=40)
@given(
    params=st.fixed_dictionaries(
        {
            "depth": st.integers(1, 4),
            "width": st.integers(1, 9),
            "embedding": st.sampled_from([0, 1, 6]),
            "bag": st.sampled_from(["binary", "counts"]),
            "activation": st.sampled_from(sorted(ACTIVATIONS)),
            "dropout": st.sampled_from([0.0, 0.5]),
            "normalization": st.sampled_from(NORMALIZATIONS),
            "initialization": st.sampled_from(INITIALIZATIONS),
        }
    ),
    tokens=texts.filter(lambda tokens: len(tokens) > 1),  # batch normalization refuses one sample
)
def test_every_mlp_trains_all_its_parameters(params: dict[str, Any], tokens: Tensor) -> None:
    model = TextMlp(vocabulary_size=VOCABULARY, num_outputs=3, **params)
    model(tokens).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    linear = sum(isinstance(module, nn.Linear) for module in model.modules())
    assert linear == params["depth"] + bool(params["embedding"])


@pytest.mark.parametrize("layers", [1, 3])
def test_every_parameter_of_a_transformer_is_trained(layers: int) -> None:
    model = small("text-transformer", layers=layers, dropout=0.0)
    model(torch.tensor([[3, 5, 7, 1, 2, 4], [6, 6, 0, 0, 0, 0]])).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not bool(gradient.any())] == []


def test_a_transformer_sees_the_order_of_words_and_a_bag_does_not() -> None:
    there, back = torch.tensor([[3, 5, 7, 0, 0, 0]]), torch.tensor([[7, 5, 3, 0, 0, 0]])
    transformer, mlp = small("text-transformer").eval(), small("text-mlp").eval()
    assert not torch.allclose(transformer(there), transformer(back), atol=1e-6)
    torch.testing.assert_close(mlp(there), mlp(back))


@pytest.mark.parametrize("name", SMALL)
def test_each_learns_which_word_decides(name: str) -> None:
    model = small(name, dropout=0.0).train()
    tokens = torch.randint(4, VOCABULARY, (64, LENGTH), generator=torch.Generator().manual_seed(0))
    targets = torch.arange(64) % 3
    tokens[:, 2] = 1 + targets  # the words 1, 2 and 3 each belong to a class
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(80):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(tokens), targets)
        loss.backward()  # type: ignore[no-untyped-call]  # unannotated in torch
        optimizer.step()
    assert (model.eval()(tokens).argmax(1) == targets).all()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("target", ["simulated", "gpu"])
def test_the_memory_of_each_can_be_predicted(name: str, target: Any) -> None:
    tokens = torch.randint(0, VOCABULARY, (64, LENGTH), generator=torch.Generator().manual_seed(0))
    task = Task(model=lambda: small(name), train=(tokens, torch.arange(64) % 3), batch_size=8)
    found = build_memory_model(task, params={}, target=target, in_process=True)
    assert isinstance(found, MemoryModel), found
    assert found.live_peak_bytes(64) > found.live_peak_bytes(8)


def test_hyperparameters_are_what_a_recipe_may_search() -> None:
    assert set(model_rules("text-mlp")) >= {"depth", "width", "embedding", "bag", "dropout", "activation"}
    assert set(model_rules("text-embedding")) >= {"embedding", "depth", "width", "dropout"}
    assert set(model_rules("text-transformer")) >= {"embedding", "heads", "layers", "dropout"}
    given = {"vocabulary_size", "input_shape", "num_outputs"}
    assert not [name for name in SMALL if given & set(model_rules(name))]


def test_models_for_texts_take_nothing_else() -> None:
    check_kind("text-mlp", "tokens")
    with pytest.raises(TaskError, match=r"text-mlp cannot take images"):
        check_kind("text-mlp", "images")
    with pytest.raises(TaskError, match=r"cnn cannot take texts.\nModels that can: text-embedding, text-mlp, text-tr"):
        check_kind("cnn", "tokens")


@pytest.mark.parametrize(
    ("name", "params", "rule"),
    [
        ("text-mlp", {"depth": 0}, "depth must be a whole number from 1 to 64, not 0"),
        ("text-mlp", {"embedding": -1}, "embedding must be a whole number from 0 to"),
        ("text-mlp", {"bag": "count"}, r"Unknown bag 'count'.\nDid you mean counts"),
        ("text-mlp", {"activation": "rely"}, r"Unknown activation 'rely'.\nDid you mean relu"),
        ("text-embedding", {"embedding": 0}, "embedding must be a whole number from 1 to"),
        ("text-transformer", {"layers": 0}, "layers must be a whole number from 1 to 24, not 0"),
        ("text-transformer", {"dropout": 1}, "dropout must be a number from 0 to below 1, not 1"),
        (
            "text-transformer",
            {"embedding": 48, "heads": 5},
            r"heads = 5 does not divide embedding = 48: .*\n.*heads can be 1, 2, 3, 4, 6, 8, 12, 16, 24, 48\.",
        ),
    ],
)
def test_wrong_hyperparameters(name: str, params: dict[str, Any], rule: str) -> None:
    with pytest.raises(TaskError, match=re.compile(rule)):
        small(name, **params)


def test_text_embedding_is_a_text_mlp_with_an_embedding() -> None:
    torch.manual_seed(0)
    one = TextEmbedding(vocabulary_size=VOCABULARY, num_outputs=3, embedding=4, depth=2, width=5)
    torch.manual_seed(0)
    other = TextMlp(vocabulary_size=VOCABULARY, num_outputs=3, embedding=4, depth=2, width=5)
    tokens = torch.tensor([[3, 5, 0]])
    torch.testing.assert_close(one(tokens), other(tokens), rtol=0, atol=0)
