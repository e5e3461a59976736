"""Small finite search spaces."""

from __future__ import annotations

from probe.search.records.search import Dimension
from probe.search.space.space import Space

FINITE = Space(
    dimensions=(
        Dimension(name="optimizer", kind="choices", choices=("sgd", "adam")),
        Dimension(name="momentum", kind="choices", choices=(0.0, 0.9), when={"optimizer": "sgd"}),
        Dimension(name="width", kind="pow2", low=4, high=16),
        Dimension(name="dropout", kind="float", low=0.0, high=0.5, step=0.25),
    ),
    constants={"l2": 0.0},
)


NARROW = Space(
    dimensions=(
        Dimension(name="optimizer", kind="choices", choices=("sgd", "adam")),
        Dimension(
            name="lr", kind="float", low=1e-4, high=0.1, log=True, per={"sgd": (0.0999, 0.1), "adam": (1e-4, 1.003e-4)}
        ),
    ),
    constants={},
)
