"""The hyperparameters of the built-in networks, and the values that they can have. Imports no PyTorch."""

from __future__ import annotations

from probe.limits import BOOLEAN, PROBABILITY, OneOf, Rules, Whole

ACTIVATION_NAMES = ("relu", "gelu", "tanh", "silu", "leaky_relu", "elu")
NORMALIZATIONS = ("none", "batch", "layer")
INITIALIZATIONS = ("default", "kaiming", "xavier", "orthogonal")
BAGS = ("binary", "counts")
MAX_HEADS = 64

_WIDTH, _DEPTH = Whole(1, 65_536), Whole(0, 64)
_SHARED: Rules = {
    "activation": OneOf(ACTIVATION_NAMES),
    "dropout": PROBABILITY,
    "normalization": OneOf(NORMALIZATIONS),
    "initialization": OneOf(INITIALIZATIONS),
}
MLP: Rules = {"depth": _DEPTH, "width": _WIDTH, **_SHARED}
CNN: Rules = {"layers": Whole(1, 4), "width": _WIDTH, "kernel_size": OneOf((1, 3, 5, 7)), **_SHARED, "hidden": _WIDTH}
LSTM: Rules = {"hidden_size": _WIDTH, "num_layers": Whole(1, 64), "dropout": PROBABILITY, "residual": BOOLEAN}
TEXT_MLP: Rules = {
    "depth": Whole(1, 64),
    "width": _WIDTH,
    "embedding": Whole(0, 65_536),
    "bag": OneOf(BAGS),
    **_SHARED,
}
TEXT_EMBEDDING: Rules = {"embedding": _WIDTH, "depth": Whole(1, 64), "width": _WIDTH, **_SHARED}
TEXT_TRANSFORMER: Rules = {
    "embedding": _WIDTH,
    "heads": Whole(1, MAX_HEADS),
    "layers": Whole(1, 24),
    "feedforward": Whole(1, 64),
    "activation": OneOf(ACTIVATION_NAMES),
    "dropout": PROBABILITY,
}
TORCHVISION: Rules = {"dropout": PROBABILITY}
"""Of those models of torchvision that have dropout."""
