"""Search spaces for tests of samplers."""

from __future__ import annotations

from probe.recipe.when import Bounds
from probe.search.records.search import Dimension
from probe.search.space.space import Space

NUMBERS = Space(
    dimensions=(
        Dimension(name="lr@position", kind="float", low=0.0, high=1.0),
        Dimension(name="width", kind="pow2", low=8, high=64),
        Dimension(name="weight_decay", kind="float", low=1e-6, high=1e-2, log=True),
    ),
    constants={"optimizer": "adam"},
)


"""What every sampler can search."""


NESTED = Space(
    dimensions=(
        Dimension(name="optimizer", kind="choices", choices=("sgd", "nesterov", "adam")),
        Dimension(name="momentum", kind="float", low=0.5, high=0.9, when={"optimizer": ("sgd", "nesterov")}),
        Dimension(name="layers", kind="int", low=1, high=4),
        Dimension(name="dropout", kind="float", low=0.0, high=0.5, steps=2, when={"layers": Bounds(min=2)}),
        Dimension(
            name="width", kind="pow2", low=4, high=16, when={"layers": Bounds(min=2, max=3), "dropout": Bounds(min=0.2)}
        ),
    ),
    constants={},
)
