"""Recipes for the tests of the search."""

from __future__ import annotations

from typing import Any

from probe.recipe.load import parse_recipe
from probe.recipe.schema import Recipe


def blobs_recipe(space: dict[str, Any] | None = None, **sections: Any) -> Recipe:
    """A search over the task of searched_task.py."""
    content: dict[str, Any] = {
        "schema": 1,
        "name": "blobs",
        "task": {"target": "searched_task:blobs", "objective": {"metric": "accuracy", "mode": "max"}},
        "space": space if space is not None else {"lr": {"low": 0.01, "high": 1.0, "log": True}},
        "search": {"sampler": "random", "fidelity": {"min": 1, "max": 3, "factor": 3}},
        "budget": {"trials": 3},
    }
    return parse_recipe(content | sections, where="made")


def digits_recipe(**sections: Any) -> Recipe:
    """Everything that a recipe can probe, on handwritten digits, small."""
    content: dict[str, Any] = {
        "schema": 1,
        "name": "small-digits",
        "task": {"model": "mlp", "data": "digits", "objective": {"metric": "accuracy", "mode": "max"}},
        "space": {
            "lr": {"probe": "range_test", "per": "optimizer"},
            "optimizer": {"choices": ["sgd", "adam"]},
            "momentum": {"low": 0.5, "high": 0.95, "when": {"optimizer": "sgd"}},
            "batch_size": {"probe": "max_batch", "max": 64},
            "width": {"low": 16, "high": 64, "pow2": True},
        },
        "search": {"sampler": "tpe", "scheduler": "asha", "fidelity": {"min": 1, "max": 4, "factor": 2}},
        "budget": {"trials": 6, "epochs": 60},
        "start": [{"lr": 0.01, "optimizer": "adam"}],
    }
    return parse_recipe(content | sections, where="made")
