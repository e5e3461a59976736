"""`probe train`: train one configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import (
    OutputOptions,
    argument,
    command_line,
    data_dir_option,
    device_option,
    option,
    recipe_seed_option,
    set_option,
    trust_option,
    whole_number,
    with_options,
)
from probe.limits import MAX_EPOCHS


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What to train, and how."""

    title: ClassVar = "Training"
    recipe: Path = argument(type=Path, help="Recipe with one configuration, like best.toml.")
    changes: tuple[str, ...] = set_option()
    epochs: int | None = option(
        "--epochs",
        callback=whole_number(MAX_EPOCHS),
        metavar="N",
        help="Number of epochs.  [default: search.fidelity.max]",
    )
    all_data: bool = option("--all-data", is_flag=True, help="Train on the validation data as well.")
    device: str | None = device_option()
    data_dir: Path = data_dir_option()
    seed: int | None = recipe_seed_option()
    trust: bool = trust_option()


@click.command(
    cls=ProbeCommand,
    short_help="Train a search's best configuration and save its weights.",
    examples=(
        ("probe train best.toml", "The best configuration of a search, with validation curves"),
        ("probe train best.toml --all-data", "Train on the training and validation data"),
        ("probe train best.toml --seed 1 --epochs 30", "Another seed, and a longer training"),
    ),
)
@with_options(training=TrainOptions, output=OutputOptions)
def train(training: TrainOptions, output: OutputOptions) -> int:
    """Train the one configuration in RECIPE, save its weights as safetensors and score it once on the test data.

    A search writes such a recipe as best.toml. Ctrl-C keeps the weights trained so far.
    """
    from probe.cli.inputs import search_recipe_path
    from probe.cli.live.progress import open_progress, waiting
    from probe.cli.output import exit_code, open_output, task_errors, with_partial_result
    from probe.cli.trust import check_trusted
    from probe.device.select import parse_device
    from probe.recipe.dump import fixed_params
    from probe.recipe.load import load_recipe

    with waiting("starting", quiet=output.quiet):
        from probe.single.train import outcome_error
        from probe.single.train import train as train_recipe

        path = search_recipe_path(training.recipe)
        recipe = load_recipe(path, overrides=training.changes)
        fixed_params(recipe)  # raises if there is anything left to search
        check_trusted(path, recipe, trust=training.trust)
        device = parse_device(training.device or "auto")
    with open_output(f"train-{recipe.name}", output) as run:
        with open_progress("train", quiet=output.quiet) as observer, task_errors(recipe.name):
            result, _ = with_partial_result(
                train_recipe,
                recipe,
                epochs=training.epochs,
                all_data=training.all_data,
                seed=training.seed,
                device=device,
                data_dir=training.data_dir,
                folder=run.folder,
                observer=observer,
                argv=command_line(),
            )
        run.finish(result)
    return exit_code(result, outcome_error(result))
