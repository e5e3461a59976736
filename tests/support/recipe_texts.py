"""A small recipe as text, and the message of the error that a changed one raises."""

from __future__ import annotations

from pathlib import Path

import pytest

from probe.errors import RecipeError
from probe.recipe.load import load_recipe

RECIPE = """
schema = 1
name = "example"

[task]
model = "cnn"
data = "digits"
objective = { metric = "accuracy", mode = "max" }

[space]
batch_size = { probe = "max_batch", max = 64 }
optimizer = { choices = ["sgd", "adam"] }
lr = { probe = "range_test", per = "optimizer" }
momentum = { low = 0.5, high = 0.99, when = { optimizer = "sgd" } }
layers = { low = 1, high = 4 }
width = { low = 8, high = 32, pow2 = true }
dropout = 0.1

[budget]
trials = 4
"""


def message(path: Path, *overrides: str) -> str:
    """What is said about the recipe, without the file's name and the overrides in front."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides=overrides)
    text = str(caught.value)
    for front in (f"{path} with {', '.join(overrides)}", str(path)):
        text = text.removeprefix(front).removeprefix(": ")
    return text
