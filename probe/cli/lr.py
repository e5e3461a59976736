"""`probe lr`: which learning rate."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probe.cli.layout import ProbeCommand
from probe.cli.options import (
    command_line,
    device_option,
    image_size_option,
    optimizer_option,
    positive_number,
    precision_option,
    run_options,
    seed_option,
    source_options,
    whole_number,
)

if TYPE_CHECKING:
    from probe.cli.sources import Subject
    from probe.lr.records import LrResult


@click.command(
    cls=ProbeCommand,
    short_help="A learning rate, from a range test.",
    examples=(
        ("probe lr recipes/mnist.toml", "the task of a recipe"),
        ("probe lr --model resnet18 --data mnist", "a named model on a named data set"),
        ("probe lr --task mytask:task --batch 128", "function task of mytask.py"),
        ("probe lr", "probe.toml if there is one, else digits"),
    ),
)
@source_options
@image_size_option
@click.option("--batch", callback=whole_number(), metavar="N", help="Batch size.  [default: the task's own]")
@click.option("--from", "lowest", callback=positive_number, metavar="X", help="Lowest learning rate.  [default: 1e-5]")
@click.option("--to", "highest", callback=positive_number, metavar="X", help="Highest learning rate.  [default: 10]")
@click.option("--steps", callback=whole_number(), metavar="N", help="Training steps.  [default: 300]")
@optimizer_option
@precision_option
@device_option
@seed_option(0)
@run_options
def lr(
    recipe: Path | None,
    target: str | None,
    model: str | None,
    data: str | None,
    img: int | None,
    batch: int | None,
    lowest: float | None,
    highest: float | None,
    steps: int | None,
    optimizer: str | None,
    precision: str | None,
    device: str | None,
    seed: int,
    out: Path | None,
    data_dir: Path,
    json_target: str | None,
    quiet: bool,
) -> int:
    """Find a learning rate: train while it climbs from --from to --to, and read it off the loss.

    Nothing is kept of that training; model, optimizer and random generators are put back.
    """
    from probe.cli.output import INTERRUPTED, open_output
    from probe.cli.progress import open_progress, waiting
    from probe.cli.sources import Asked, find_subject, with_settings

    asked = Asked(recipe=recipe, target=target, model=model, data=data, img=img, data_dir=data_dir)
    with waiting("starting", quiet=quiet):
        from probe.lr.find import check_ramp

        subject = find_subject(asked)
        if subject.recipe is not None:
            options = subject.recipe.lr
            lowest, highest = lowest or options.lowest, highest or options.highest
            steps, batch, optimizer = steps or options.steps, batch or options.batch, optimizer or options.optimizer
        ramp: dict[str, Any] = {"lowest_lr": lowest or 1e-5, "highest_lr": highest or 10.0, "steps": steps or 300}
        check_ramp(**ramp)
        subject = with_settings(subject, optimizer=optimizer, batch_size=batch, precision=precision)
    with open_output(f"lr-{subject.name}", out=out, json_target=json_target, quiet=quiet) as output:
        output.note(subject.note)
        with open_progress("lr", quiet=quiet) as observer:
            result = _measure(
                subject,
                **ramp,
                device=device or "auto",
                seed=seed,
                observer=observer,
                argv=command_line(),
            )
        output.finish(result)
    return INTERRUPTED if result.stopped_by == "interrupted" else 0


def _measure(subject: Subject, **options: Any) -> LrResult:
    """`find_lr` in the words of the command line: out of memory is an answer about the batch size, and what the task's
    own code raises is the user's to see. Bugs of probe's pass through.
    """
    from probe.device.failures import classify_failure
    from probe.errors import NothingFitsError, ProbeError
    from probe.lr.find import find_lr
    from probe.task import user_code_error

    title = subject.source.title
    try:
        return find_lr(subject.source, params=subject.params, recipe_hash=subject.recipe_hash, **options)
    except ProbeError:
        raise
    except Exception as error:
        if classify_failure(error) is not None:
            raise NothingFitsError(
                f"A training step of {title} does not fit into memory: {error}",
                hint="Take a smaller --batch; `probe batch` finds the largest that fits.",
            ) from None
        if _raised_by_probe(error):
            raise
        raise user_code_error(f"Training {title} raised {type(error).__name__}: {error}", error) from None


def _raised_by_probe(error: Exception) -> bool:
    """Whether the innermost frame is probe's own."""
    innermost = traceback.extract_tb(error.__traceback__)[-1].filename
    return Path(innermost).is_relative_to(Path(__file__).parents[1])
