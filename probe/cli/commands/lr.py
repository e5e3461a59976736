"""`probe lr`: which learning rate."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import (
    command_line,
    device_option,
    image_size_option,
    lr_schedule_option,
    optimizers_option,
    positive_number,
    precision_option,
    run_options,
    seed_option,
    source_options,
    whole_number,
    whole_numbers,
)

if TYPE_CHECKING:
    from probe.cli.output import Output
    from probe.cli.sources import Subject
    from probe.errors import ProbeError
    from probe.lr.records import Axis, LrComparison, LrResult
    from probe.tasks.source import TaskSource


@click.command(
    cls=ProbeCommand,
    short_help="A learning rate, from a range test.",
    examples=(
        ("probe lr recipes/mnist.toml", "the task of a recipe"),
        ("probe lr --task mytask:task --confirm", "checked by short runs"),
        ("probe lr --task mytask:task --batch 32,128", "how it grows with the batch"),
        ("probe lr recipes/digits.toml --per optimizer", "one for each of the space"),
        ("probe lr", "probe.toml if there is one, else digits"),
    ),
)
@source_options
@image_size_option
@click.option("--batch", callback=whole_numbers, metavar="N,..", help="Batch size; several are compared.")
@click.option("--from", "lowest", callback=positive_number, metavar="X", help="Lowest learning rate.  [default: 1e-5]")
@click.option("--to", "highest", callback=positive_number, metavar="X", help="Highest learning rate.  [default: 10]")
@click.option("--steps", callback=whole_number(), metavar="N", help="Steps of a range test.  [default: 300, or fewer]")
@click.option(
    "--horizon", callback=whole_number(), metavar="N", help="Planned training steps.  [default: the recipe's]"
)
@click.option("--repeats", callback=whole_number(), metavar="N", help="Range tests, averaged.  [default: 1]")
@click.option(
    "--confirm",
    is_flag=False,
    flag_value="short",
    type=click.Choice(["short", "full"]),
    metavar="[full]",
    help="Check by 5 runs of 100 steps; full: of 1/4 horizon.",
)
@click.option(
    "--per", type=click.Choice(["optimizer"]), metavar="optimizer", help="One answer for each of the recipe's."
)
@optimizers_option
@lr_schedule_option
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
    batch: tuple[int, ...],
    lowest: float | None,
    highest: float | None,
    steps: int | None,
    horizon: int | None,
    repeats: int | None,
    confirm: Literal["short", "full"] | None,
    per: str | None,
    optimizer: tuple[str, ...],
    lr_schedule: str | None,
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
    from probe.cli.live.progress import waiting
    from probe.cli.output import INTERRUPTED, open_output
    from probe.cli.sources import SourceOptions, find_subject, with_settings

    asked = SourceOptions(recipe=recipe, target=target, model=model, data=data, img=img, data_dir=data_dir)
    with waiting("starting", quiet=quiet):
        from probe.lr.plan import plan_probe

        subject = find_subject(asked)
        depth: bool | str = "full" if confirm == "full" else confirm is not None
        if subject.recipe is not None:
            options = subject.recipe.lr
            lowest, highest = lowest or options.lowest, highest or options.highest
            steps, horizon, repeats = steps or options.steps, horizon or options.horizon, repeats or options.repeats
            depth, per = (
                depth or options.confirm,
                per or (None if len(optimizer) > 0 or len(batch) > 1 else options.per),
            )
            batch = batch or ((options.batch,) if options.batch else ())
            optimizer = optimizer or ((options.optimizer,) if options.optimizer else ())
        settings: dict[str, Any] = {
            "lowest_lr": lowest or 1e-5,
            "highest_lr": highest or 10.0,
            "steps": steps,
            "repeats": repeats or 1,
            "confirm": depth,
        }
        plan_probe(**settings, horizon=horizon or 1)
        subject = with_settings(
            subject,
            optimizer=optimizer[0] if optimizer else None,
            batch_size=batch[0] if batch else None,
            lr_schedule=lr_schedule,
            precision=precision,
            epochs=None if horizon else _recipe_epochs(subject),
        )
        compared = _compared(subject, batch, optimizer, per)
    settings |= {"horizon": horizon, "device": device or "auto", "seed": seed}
    with open_output(f"lr-{subject.name}", out=out, json_target=json_target, quiet=quiet) as output:
        output.note(subject.note)
        result, error = _measure(subject, compared, settings, output)
        output.finish(result)
    if error is not None:
        raise error
    return INTERRUPTED if result.stopped_by == "interrupted" else 0


def _recipe_epochs(subject: Subject) -> int | None:
    """How long the recipe trains at most."""
    return None if subject.recipe is None else subject.recipe.search.fidelity.full_epochs


def _compared(
    subject: Subject, batch: tuple[int, ...], optimizer: tuple[str, ...], per: str | None
) -> tuple[Axis, list[Mapping[str, Any]]] | None:
    """What is compared: the axis, and every variant's hyperparameters. None where one probe answers it all.

    Raises UsageError for two axes at once, and where there are no optimizers to take.
    """
    from probe.cli.sources import with_settings
    from probe.errors import UsageError

    asked = [
        name
        for name, many in (("--batch", len(batch) > 1), ("--optimizer", len(optimizer) > 1), ("--per", per))
        if many
    ]
    if len(asked) > 1:
        raise UsageError(
            f"{' and '.join(asked)} each ask for a comparison of their own.", hint="Compare one thing at a time."
        )
    if not asked:
        return None
    if asked == ["--batch"]:
        return "batch_size", [with_settings(subject, batch_size=size).params for size in batch]
    if asked == ["--optimizer"]:
        return "optimizer", [with_settings(subject, optimizer=name).params for name in optimizer]
    return "optimizer", _optimizers_of_recipe(subject, optimizer)


def _optimizers_of_recipe(subject: Subject, optimizer: tuple[str, ...]) -> list[Mapping[str, Any]]:
    """A configuration in the middle of the recipe's space for each of its optimizers, the one that its search would probe."""
    from probe.errors import UsageError
    from probe.search.space.dimensions import build_space, central_params, optimizers_of

    recipe = subject.recipe
    names = () if recipe is None else optimizers_of(recipe, None)
    if recipe is None or optimizer or not names:
        raise UsageError(
            "--per optimizer takes the optimizers from a recipe's [space], and there are none.",
            hint="Name them instead: --optimizer sgd,adam",
        )
    space = build_space(recipe)
    kept = {
        name: value
        for name, value in subject.params.items()
        if name in ("lr_schedule", "precision", "epochs", "batch_size")
    }
    return [{**central_params(space, optimizer=name), **kept} for name in names]


def _measure(
    subject: Subject, compared: tuple[Axis, list[Mapping[str, Any]]] | None, settings: dict[str, Any], output: Output
) -> tuple[LrResult | LrComparison, ProbeError | None]:
    """One probe, or one for each variant of what is compared."""
    from probe.cli.live.progress import open_progress
    from probe.lr.compare import compare_lrs
    from probe.records import RunOrigin

    settings = settings | {"origin": RunOrigin(argv=command_line(), recipe_hash=subject.recipe_hash)}
    with open_progress("lr", quiet=output.quiet) as observer:
        settings = settings | {"observer": observer}
        if compared is None:
            return _find(subject.source, params=subject.params, **settings), None
        axis, variants = compared
        return compare_lrs(subject.source, variants, axis=axis, find=_find, begin=observer, **settings)


def _find(source: TaskSource, **options: Any) -> LrResult:
    """`find_lr` in the words of the command line: out of memory is an answer about the batch size, and what the task's own
    code raises is the user's to see. Bugs of probe's pass through.
    """
    from probe.device.failures import find_failure
    from probe.errors import NothingFitsError, ProbeError, user_code_error
    from probe.lr.find import find_lr

    try:
        return find_lr(source, **options)
    except Exception as error:
        failure, culprit = find_failure(error)
        if failure in ("oom", "host_oom"):
            raise NothingFitsError(
                f"A training step of {source.title} does not fit into memory: {culprit}",
                hint="Take a smaller --batch; `probe batch` finds the largest that fits.",
            ) from None
        if isinstance(error, ProbeError) or (failure is None and _raised_by_probe(error)):
            raise
        told = user_code_error(f"Training {source.title} raised {type(error).__name__}: {error}", error)
        if failure == "kernel_limit":
            told.hint = "It may be a limit of a GPU kernel: `probe batch` finds out whether a smaller --batch runs."
        raise told from None


def _raised_by_probe(error: Exception) -> bool:
    """Whether the innermost frame is probe's own."""
    innermost = traceback.extract_tb(error.__traceback__)[-1].filename
    return Path(innermost).is_relative_to(Path(__file__).parents[1])
