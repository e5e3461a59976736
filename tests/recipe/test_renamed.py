"""Keys of earlier recipes are refused with their present name."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe_texts import RECIPE, message

from probe.recipe.data_options import DataOptions
from probe.recipe.load import load_recipe
from probe.recipe.renamed import RENAMED_KEYS


@pytest.mark.parametrize(("old", "new"), RENAMED_KEYS.items())
def test_an_old_key_names_the_new_one(tmp_path: Path, old: str, new: str) -> None:
    if old.rpartition(".")[2] in DataOptions.model_fields:
        pytest.skip("not renamed yet")
    path = tmp_path / "example.toml"
    path.write_text(RECIPE)
    said = message(path, f"{old}=1")
    assert said.startswith(f"{old}:")
    assert new in said


def test_a_task_of_the_users_own_may_have_hyperparameters_with_old_names(tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    path.write_text(RECIPE)
    recipe = load_recipe(path, overrides=["space.schedule=linear"], target="mytask:task")
    assert recipe.constants["schedule"] == "linear"
