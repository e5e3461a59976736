"""A search space with every kind of dimension."""

from __future__ import annotations

from probe.search.records.search import Dimension
from probe.search.space.space import (
    Space,
)

SPACE = Space(
    dimensions=(
        Dimension(name="batch_size", kind="pow2", low=8, high=64),
        Dimension(name="optimizer", kind="choices", choices=("sgd", "adam")),
        Dimension(
            name="lr", kind="float", low=1e-4, high=1.0, log=True, per={"sgd": (1e-2, 1.0), "adam": (1e-4, 1e-2)}
        ),
        Dimension(name="momentum", kind="float", low=0.5, high=0.99, when={"optimizer": "sgd"}),
        Dimension(name="depth", kind="int", low=1, high=4),
        Dimension(name="weight_decay", kind="float", low=1e-6, high=1e-2, log=True),
    ),
    constants={"dropout": 0.1},
)
