"""`probe space`: what a recipe would search, and how, before anything is spent."""

from __future__ import annotations

from pathlib import Path

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import changes_option, debug_option, tries_option


@click.command(
    cls=ProbeCommand,
    short_help="What a recipe would search, and what that costs.",
    examples=(
        ("probe space recipes/mnist.toml", "the space, its size, a grid's cost, the ladder"),
        ("probe space recipes/mnist.toml --set search.sampler=grid", "with a key of the recipe changed"),
    ),
)
@click.argument("recipe", required=False, type=click.Path(path_type=Path))
@changes_option
@tries_option
@debug_option
def space(recipe: Path | None, changes: tuple[str, ...], tries: tuple[str, ...]) -> None:
    """Print the space of RECIPE, its size, what a grid over it would cost, and the ladder. Nothing is trained; what is probed
    is not known yet. Without RECIPE, the probe.toml of this folder.
    """
    from probe.cli.answers.layout import layout_lines
    from probe.cli.answers.space import space_lines
    from probe.cli.sources import search_recipe_path
    from probe.recipe.load import load_recipe

    found = load_recipe(search_recipe_path(recipe), overrides=changes, tries=tries)
    for line in layout_lines(space_lines(found)):
        click.echo(line)
