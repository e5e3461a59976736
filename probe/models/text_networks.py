"""The built-in networks for texts: `text-mlp`, `text-embedding` and `text-transformer`.

All take token ids (N, L) of int64 from probe.data.files.text: 0 is padding, 1 is any word outside the vocabulary, and texts
shorter than L are padded at the end. Padding does not change the output. A text without words is only padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from probe.data.files.text import PADDING
from probe.errors import TaskError
from probe.limits import check_values
from probe.models.hyperparameters import MAX_HEADS, TEXT_EMBEDDING, TEXT_MLP, TEXT_TRANSFORMER
from probe.models.networks import ACTIVATIONS, initialize, norm_of_units


class BagOfWords(nn.Module):
    """A linear layer over the bag of words, computed without creating the bag: token ids (N, L) -> (N, width).

    The bag of a text is a vector of `vocabulary_size` numbers: the count of each token, or with `binary` 1 if the token occurs
    and 0 if not. `weight @ bag + bias` is a sum of columns of the weight, one per token of the text, which an embedding bag
    computes exactly: 100 of 10,000 columns for a text of 100 words. Weights are initialized like those of
    `nn.Linear(vocabulary_size, width)`.
    """

    def __init__(self, *, vocabulary_size: int, width: int, binary: bool, initialization: str, activation: str) -> None:
        super().__init__()
        self.binary = binary
        linear = nn.Linear(vocabulary_size, width)
        initialize(linear, initialization, activation)
        self.columns = nn.EmbeddingBag(vocabulary_size, width, mode="sum", padding_idx=PADDING)
        with torch.no_grad():
            self.columns.weight.copy_(linear.weight.T)
            self.columns.weight[PADDING].zero_()
        self.bias = nn.Parameter(linear.bias.detach().clone())

    def forward(self, tokens: Tensor) -> Tensor:
        if self.binary:
            tokens = without_repetitions(tokens)
        return self.columns(tokens) + self.bias  # type: ignore[no-any-return]  # nn.Module calls are untyped


class MeanEmbedding(nn.Module):
    """The mean of the embeddings of all tokens: token ids (N, L) -> (N, dimension). A text without words gives zeros."""

    def __init__(self, *, vocabulary_size: int, dimension: int) -> None:
        super().__init__()
        self.embeddings = nn.EmbeddingBag(vocabulary_size, dimension, mode="mean", padding_idx=PADDING)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.embeddings(tokens)  # type: ignore[no-any-return]  # nn.Module calls are untyped


class TextMlp(nn.Module):
    """A multilayer perceptron on texts: token ids (N, L) -> (N, num_outputs).

    It has `depth` hidden layers of `width` units, each followed by normalization, activation and dropout. The first one takes
    the bag of words (`BagOfWords`): with `bag = "binary"` whether a word occurs in the text, with "counts" how often.
    With `embedding` > 0, its input is the mean of learned word embeddings of that size (as in Joulin et al. 2017, "Bag of
    tricks for efficient text classification").
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        num_outputs: int,
        depth: int = 2,
        width: int = 64,
        embedding: int = 0,
        bag: str = "binary",
        activation: str = "relu",
        dropout: float = 0.0,
        normalization: str = "none",
        initialization: str = "default",
    ) -> None:
        super().__init__()
        check_values(
            TEXT_MLP,
            depth=depth,
            width=width,
            embedding=embedding,
            bag=bag,
            activation=activation,
            dropout=dropout,
            normalization=normalization,
            initialization=initialization,
        )
        first: list[nn.Module]
        if embedding:
            first = [MeanEmbedding(vocabulary_size=vocabulary_size, dimension=embedding), nn.Linear(embedding, width)]
        else:
            bag_of_words = BagOfWords(
                vocabulary_size=vocabulary_size,
                width=width,
                binary=bag == "binary",
                initialization=initialization,
                activation=activation,
            )
            first = [bag_of_words]
        layers = first
        for layer in range(depth):
            layers += [nn.Linear(width, width)] if layer else []
            layers += [*norm_of_units(normalization, width), ACTIVATIONS[activation]()]
            layers += [nn.Dropout(dropout)] if dropout else []
        layers.append(nn.Linear(width, num_outputs))
        self.layers = nn.Sequential(*layers)
        initialize(self, initialization, activation)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layers(tokens)  # type: ignore[no-any-return]  # nn.Module calls are untyped


class TextEmbedding(TextMlp):
    """`text-mlp` with word embeddings of size `embedding`, whose mean is the input of `depth` hidden layers."""

    def __init__(
        self,
        *,
        vocabulary_size: int,
        num_outputs: int,
        embedding: int = 64,
        depth: int = 1,
        width: int = 64,
        activation: str = "relu",
        dropout: float = 0.0,
        normalization: str = "none",
        initialization: str = "default",
    ) -> None:
        check_values(TEXT_EMBEDDING, embedding=embedding)
        super().__init__(
            vocabulary_size=vocabulary_size,
            num_outputs=num_outputs,
            embedding=embedding,
            depth=depth,
            width=width,
            activation=activation,
            dropout=dropout,
            normalization=normalization,
            initialization=initialization,
        )


class TextTransformer(nn.Module):
    """A Transformer encoder (Vaswani et al. 2017) on texts: token ids (N, L) -> (N, num_outputs).

    Each token has an embedding of size `embedding`, to which a learned position embedding is added. Each of the `layers` layers
    has self-attention with `heads` heads and two dense layers, the first `feedforward` times as wide. Normalization comes
    before both (Xiong et al. 2020), which trains without warm-up. The input of the output layer is the mean over all tokens and
    a start token, which gives texts without words something to attend to. Dropout is applied to the embeddings, to the
    attention weights and before every residual addition.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        input_shape: tuple[int, ...],
        num_outputs: int,
        embedding: int = 64,
        heads: int = 4,
        layers: int = 2,
        feedforward: int = 4,
        activation: str = "gelu",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_values(
            TEXT_TRANSFORMER,
            embedding=embedding,
            heads=heads,
            layers=layers,
            feedforward=feedforward,
            activation=activation,
            dropout=dropout,
        )
        if embedding % heads:
            raise TaskError(
                f"heads = {heads} does not divide embedding = {embedding}: each head uses an equal part of it.",
                hint=f"For embedding = {embedding}, heads can be {_divisors(embedding)}. In a recipe's [space], powers of two "
                "(pow2 = true) for both always fit if heads are at most embedding.",
            )
        self.embeddings = nn.Embedding(vocabulary_size, embedding, padding_idx=PADDING)
        nn.init.normal_(self.embeddings.weight, std=_EMBEDDING_DEVIATION)
        with torch.no_grad():
            self.embeddings.weight[PADDING].zero_()
        self.places = nn.Parameter(torch.randn(input_shape[0], embedding) * _EMBEDDING_DEVIATION)
        self.start = nn.Parameter(torch.randn(1, 1, embedding) * _EMBEDDING_DEVIATION)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            _Block(embedding, heads, feedforward * embedding, activation, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(embedding)
        self.output = nn.Linear(embedding, num_outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        embedded = self.embeddings(tokens) + self.places[: tokens.shape[1]]
        states = self.dropout(torch.cat([self.start.expand(len(tokens), -1, -1), embedded], dim=1))
        seen = torch.cat([torch.ones_like(tokens[:, :1]), tokens], dim=1) != PADDING  # (N, 1 + L)
        for block in self.blocks:
            states = block(states, seen)
        weights = (seen / seen.sum(dim=1, keepdim=True)).to(states.dtype).unsqueeze(-1)
        return self.output((self.norm(states) * weights).sum(dim=1))  # type: ignore[no-any-return]


_EMBEDDING_DEVIATION = 0.1
"""Standard deviation of initial embeddings: smaller than PyTorch's 1, so that training need not first unlearn random vectors;
large enough for layer normalization."""


class _Block(nn.Module):
    """One layer of the encoder: (N, S, embedding) -> (N, S, embedding)."""

    def __init__(self, embedding: int, heads: int, hidden: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_dropout = dropout
        self.attention_norm = nn.LayerNorm(embedding)
        self.queries_keys_values = nn.Linear(embedding, 3 * embedding)
        self.mixed = nn.Linear(embedding, embedding)
        self.dense = nn.Sequential(
            nn.LayerNorm(embedding),
            nn.Linear(embedding, hidden),
            ACTIVATIONS[activation](),
            nn.Linear(hidden, embedding),
            nn.Dropout(dropout),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, seen: Tensor) -> Tensor:
        num, length, embedding = states.shape
        mixed = self.queries_keys_values(self.attention_norm(states))
        queries, keys, values = mixed.view(num, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (N, heads, S, size)
        attended = scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=seen[:, None, None, :],
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        states = states + self.dropout(self.mixed(attended.transpose(1, 2).reshape(num, length, embedding)))
        return states + self.dense(states)  # type: ignore[no-any-return]  # nn.Module calls are untyped


def without_repetitions(tokens: Tensor) -> Tensor:
    """Token ids (N, L), sorted, with repeated tokens of a text replaced by padding."""
    ordered = tokens.sort(dim=1).values
    repeated = torch.zeros_like(ordered, dtype=torch.bool)
    repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return ordered.masked_fill(repeated, PADDING)


def _divisors(number: int) -> str:
    return ", ".join(str(n) for n in range(1, min(number, MAX_HEADS) + 1) if number % n == 0)
