"""`probe train`: one configuration, trained and kept."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import changes_option, command_line, device_option, run_options, seed_option, whole_number


@click.command(
    cls=ProbeCommand,
    short_help="Train a search's winner, and keep its weights.",
    examples=(
        ("probe train best.toml", "a search's winner, with curves on the validation part"),
        ("probe train best.toml --all-data", "on train + validation, like a final fit"),
        ("probe train best.toml --seed 1 --epochs 30", "another seed, and longer"),
    ),
)
@click.argument("recipe", type=click.Path(path_type=Path))
@changes_option
@click.option("--epochs", callback=whole_number(), metavar="N", help="Epochs.  [default: search.fidelity.max]")
@click.option("--all-data", is_flag=True, help="Train on the validation part, too.")
@device_option
@seed_option(None)
@run_options
def train(
    recipe: Path,
    changes: tuple[str, ...],
    epochs: int | None,
    all_data: bool,
    device: str | None,
    seed: int | None,
    out: Path | None,
    data_dir: Path,
    json_target: str | None,
    quiet: bool,
) -> int:
    """Train the one configuration of RECIPE, such as the best.toml that a search leaves, save its weights as safetensors, and
    score it once on the test data. Ctrl-C keeps what there is.
    """
    from probe.cli.live.progress import open_progress, waiting
    from probe.cli.output import INTERRUPTED, open_output
    from probe.cli.sources import search_recipe_path
    from probe.device.select import parse_device
    from probe.recipe.fixed import fixed_params
    from probe.recipe.load import load_recipe

    with waiting("starting", quiet=quiet):
        from probe.single.train import outcome_error
        from probe.single.train import train as train_recipe

        path = search_recipe_path(recipe)
        found = load_recipe(path, overrides=changes)
        fixed_params(found)
        spec = parse_device(device or "auto")
    with open_output(f"train-{found.name}", out=out, json_target=json_target, quiet=quiet) as output:
        with open_progress("train", quiet=quiet) as observer, _the_users_own(found.name):
            result = train_recipe(
                found,
                epochs=epochs,
                all_data=all_data,
                seed=seed,
                device=spec,
                data_dir=data_dir,
                folder=output.folder,
                observer=observer,
                argv=command_line(),
            )
        output.finish(result)
    error = outcome_error(result)
    if error is not None:
        raise error
    return INTERRUPTED if result.stopped_by == "interrupted" else 0


@contextmanager
def _the_users_own(name: str) -> Iterator[None]:
    """What the task's own code raises is the user's to see; bugs of probe's pass through."""
    from probe.errors import ProbeError, user_code_error

    try:
        yield
    except ProbeError:
        raise
    except Exception as error:
        innermost = traceback.extract_tb(error.__traceback__)[-1].filename
        if Path(innermost).is_relative_to(Path(__file__).parents[1]):
            raise
        raise user_code_error(f"Training {name} raised {type(error).__name__}: {error}", error) from None
