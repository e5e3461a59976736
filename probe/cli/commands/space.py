"""`probe space`: show what a recipe searches, and what that costs."""

from __future__ import annotations

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import ChangeOptions, with_options


@click.command(
    cls=ProbeCommand,
    short_help="Show what a recipe searches, and what that costs.",
    examples=(
        ("probe space recipes/mnist.toml", "Show the space, its size, the cost of a grid, and the scheduler"),
        ("probe space recipes/mnist.toml --set search.sampler=grid", "Change a key of the recipe"),
    ),
)
@with_options(options=ChangeOptions)
def space(options: ChangeOptions) -> None:
    """Show the search space of RECIPE, its size, the cost of a grid, the sampler and the scheduler.

    Nothing is trained. RECIPE defaults to the probe.toml in this folder.
    """
    from probe.cli.answers import print_lines
    from probe.cli.inputs import search_recipe_path
    from probe.cli.space_answer import space_lines
    from probe.recipe.load import load_recipe
    from probe.search.checks import check_recipe

    recipe = load_recipe(search_recipe_path(options.recipe), overrides=options.changes, tries=options.tries)
    check_recipe(recipe)
    print_lines(space_lines(recipe))
