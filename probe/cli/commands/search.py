"""`probe search`: which hyperparameters, within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import (
    changes_option,
    command_line,
    device_option,
    run_options,
    seed_option,
    tries_option,
    whole_number,
)
from probe.errors import OutputError, ProbeError

if TYPE_CHECKING:
    from probe.recipe.schema import Recipe


@click.command(
    cls=ProbeCommand,
    short_help="The best hyperparameters within a budget.",
    examples=(
        ("probe search recipes/digits.toml", "as the recipe says"),
        ("probe search recipes/mnist.toml --trials 5 --time 2m", "with a smaller budget"),
        ("probe search recipes/mnist.toml --set search.seed=1", "with a key of the recipe changed"),
        ("probe search recipes/mnist.toml --try lr=0.01,width=16", "with a configuration of your own first"),
        ("probe search recipes/mnist.toml --resume", "go on with the newest search of it, however it was stopped"),
    ),
)
@click.argument("recipe", required=False, type=click.Path(path_type=Path))
@changes_option
@tries_option
@click.option("--trials", metavar="N", help="Short for --set budget.trials=N.")
@click.option("--epochs", metavar="N", help="Short for --set budget.epochs=N.")
@click.option("--time", metavar="T", help="Short for --set budget.time=T, like 90s, 2m, 1h30m or none.")
@click.option(
    "--workers",
    callback=whole_number(),
    metavar="N",
    help="Trials side by side.  [default: 1 a GPU, else 1 a core, up to 4]",
)
@click.option("--ray", metavar="ADDRESS", help="Search on a Ray cluster: auto, HOST:PORT, or local:N on this machine.")
@click.option(
    "--storage",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Folder for checkpoints that every node sees.  [default: the run's]",
)
@click.option("--resume", is_flag=True, help="Go on with a search that was stopped or killed: --out's, or the newest.")
@click.option("--allow-code-changes", is_flag=True, help="Resume although the task's code was edited.")
@click.option("--deterministic", is_flag=True, help="One worker, nothing by the clock: every run decides alike.")
@device_option
@seed_option(None)
@run_options
def search(
    recipe: Path | None,
    changes: tuple[str, ...],
    tries: tuple[str, ...],
    trials: str | None,
    epochs: str | None,
    time: str | None,
    workers: int | None,
    ray: str | None,
    storage: Path | None,
    resume: bool,
    allow_code_changes: bool,
    deterministic: bool,
    device: str | None,
    seed: int | None,
    out: Path | None,
    data_dir: Path,
    json_target: str | None,
    quiet: bool,
) -> int:
    """Search the hyperparameters of RECIPE: probe batch size and learning rate, try configurations within the budget,
    train the best one again and score it once on the test data. Without RECIPE, the probe.toml of this folder.
    """
    from probe.cli.live.progress import open_progress, waiting
    from probe.cli.output import INTERRUPTED, open_output
    from probe.cli.sources import search_recipe_path
    from probe.device.select import parse_device
    from probe.recipe.load import load_recipe

    shortcuts = {"budget.trials": trials, "budget.epochs": epochs, "budget.time": time, "search.seed": seed}
    with waiting("starting", quiet=quiet):
        from probe.search.find import find_hyperparameters

        path = search_recipe_path(recipe)
        found = load_recipe(path, overrides=all_changes(changes, shortcuts), tries=tries)
        spec = parse_device(device or "auto")
    with open_output(found.name, out=out, json_target=json_target, quiet=quiet, resume=resume) as output:
        goal = f"{found.task.objective.mode} {found.task.objective.metric}"
        how = f". Going on in {output.shown_folder}" if resume else f", by {_means(found)}"
        output.note(f"Searching {path}: {goal}{how}.")
        with open_progress("search", quiet=quiet, constants=found.constants) as observer:
            error: ProbeError | None = None
            try:
                result = find_hyperparameters(
                    found,
                    observer=observer,
                    device=spec,
                    num_workers=workers,
                    data_dir=data_dir,
                    ray=ray,
                    storage=storage,
                    folder=output.folder,
                    resume=resume,
                    deterministic=deterministic,
                    allow_code_changes=allow_code_changes,
                    argv=command_line(),
                )
            except ProbeError as raised:
                if raised.result is None:
                    raise
                result, error = raised.result, raised
        try:
            output.finish(result)
        except OutputError:
            if error is None:  # else the first one says it: a full disk fails twice
                raise
    if error is not None:
        raise error
    return INTERRUPTED if result.stopped_by == "interrupted" else 0


def _means(recipe: Recipe) -> str:
    """How a new search goes about it: its sampler and its ladder."""
    from probe.search.schedulers.auto_scheduler import choose_scheduler

    scheduler = choose_scheduler(recipe).name
    return recipe.search.sampler if scheduler == "none" else f"{recipe.search.sampler} and {scheduler}"


def all_changes(changes: Sequence[str], shortcuts: dict[str, str | int | None]) -> tuple[str, ...]:
    """What is written over the recipe: --set first, then the options that are short for one."""
    return (*changes, *(f"{key}={value}" for key, value in shortcuts.items() if value is not None))
