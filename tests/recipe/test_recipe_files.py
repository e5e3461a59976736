"""The recipes that come with probe."""

from __future__ import annotations

from pathlib import Path

import pytest

from probe.recipe.dump import dump_recipe
from probe.recipe.load import load_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.stem))
def test_a_recipe_loads_is_named_like_its_file_and_survives_dumping(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    copy = tmp_path / path.name
    copy.write_text(dump_recipe(recipe))
    assert load_recipe(copy) == recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.stem))
def test_every_section_and_every_searched_value_has_a_comment(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    begins = "[[start]]                 # a configuration to try first; the sampler draws the rest"
    start = lines.index(begins) if begins in lines else len(lines)  # a grid tries everything anyway
    assert [line for line in lines[:start] if line and "#" not in line] == []
