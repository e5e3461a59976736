"""`probe lr`: find the learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.inputs import SourceOptions
from probe.cli.options import (
    PRECISIONS,
    DeviceOptions,
    OutputOptions,
    command_line,
    optimizers,
    option,
    positive_number,
    single_whole_number,
    whole_number,
    whole_numbers,
    with_options,
)
from probe.limits import MAX_IMAGE_SIZE, MAX_MEASURED_STEPS, MAX_REPEATS, MAX_SAMPLES, MAX_STEPS

if TYPE_CHECKING:
    from probe.cli.inputs import TrainingSetup
    from probe.lr.records import Axis, LrComparison, LrResult
    from probe.tasks.source import TaskSource


@dataclass(frozen=True, slots=True, kw_only=True)
class LrSourceOptions(SourceOptions):
    """What to train, with a single image size."""

    img: tuple[int, ...] = option(
        "--img", callback=single_whole_number(MAX_IMAGE_SIZE), metavar="N", help="Its image size."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeTestOptions:
    """The range tests, and the runs that confirm them."""

    title: ClassVar = "Range test"
    lowest: float | None = option(
        "--from", callback=positive_number, metavar="X", help="Lowest learning rate.  [default: 1e-5]"
    )
    highest: float | None = option(
        "--to", callback=positive_number, metavar="X", help="Highest learning rate.  [default: 10]"
    )
    steps: int | None = option(
        "--steps",
        callback=whole_number(MAX_MEASURED_STEPS),
        metavar="N",
        help="Steps of a range test.  [default: 300, or fewer]",
    )
    repeats: int | None = option(
        "--repeats",
        callback=whole_number(MAX_REPEATS),
        metavar="N",
        help="Average this many range tests.  [default: 1]",
    )
    confirm: Literal["short", "full"] | None = option(
        "--confirm",
        is_flag=False,
        flag_value="short",
        type=click.Choice(["short", "full"]),
        metavar="[full]",
        help="Confirm by 5 short runs; full: by longer runs.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """The training that the learning rate is for."""

    title: ClassVar = "Training"
    training_steps: int | None = option(
        "--training-steps",
        callback=whole_number(MAX_STEPS),
        metavar="N",
        help="Planned length.  [default: the recipe's]",
    )
    batch: tuple[int, ...] = option(
        "--batch", callback=whole_numbers(MAX_SAMPLES), metavar="N,..", help="Batch size; several are compared."
    )
    optimizer: tuple[str, ...] = option(
        "--optimizer", callback=optimizers, metavar="NAME,..", help="sgd, adam, adamw, ...; several are compared."
    )
    per: str | None = option(
        "--per", type=click.Choice(["optimizer"]), metavar="optimizer", help="Compare the optimizers of the recipe."
    )
    lr_schedule: str | None = option("--lr-schedule", metavar="NAME", help="constant, cosine, one-cycle or linear.")
    precision: str | None = option(
        "--precision", metavar="P", type=click.Choice(PRECISIONS), help="fp32, tf32, bf16 or fp16."
    )


@click.command(
    cls=ProbeCommand,
    short_help="Find the learning rate by a range test.",
    examples=(
        ("probe lr recipes/mnist.toml", "The task of a recipe"),
        ("probe lr --task mytask:task --confirm", "Your own model, confirmed by short runs"),
        ("probe lr --task mytask:task --batch 32,128", "How the learning rate depends on the batch size"),
        ("probe lr recipes/digits.toml --per optimizer", "One learning rate for each optimizer of the recipe"),
        ("probe lr", "The probe.toml in this folder, or else a built-in example"),
    ),
)
@with_options(
    source=LrSourceOptions, test=RangeTestOptions, training=TrainingOptions, device=DeviceOptions, output=OutputOptions
)
def lr(
    source: LrSourceOptions,
    test: RangeTestOptions,
    training: TrainingOptions,
    device: DeviceOptions,
    output: OutputOptions,
) -> int:
    """Find a learning rate: train a few hundred steps while it increases from --from to --to, and read it off the loss.

    With a schedule, it is the peak learning rate. The model is not changed.
    """
    from probe.cli.inputs import find_training_setup
    from probe.cli.live.progress import open_progress, waiting
    from probe.cli.output import exit_code, open_output, with_partial_result
    from probe.records import RunOrigin

    with waiting("starting", quiet=output.quiet):
        setup = find_training_setup(source)
        test, training, confirm = _with_recipe(setup, test, training)
        settings = _checked_settings(test, confirm, training.training_steps)
        setup = _with_training(setup, training)
        compared = _compared(setup, training)
    settings |= {
        "training_steps": training.training_steps,
        "device": device.device or "auto",
        "seed": device.seed,
        "origin": RunOrigin(argv=command_line(), recipe_hash=setup.recipe_hash),
    }
    with open_output(f"lr-{setup.name}", output) as run:
        run.print_note(setup.note)
        with open_progress("lr", quiet=output.quiet) as observer:
            result, error = with_partial_result(_measure, setup, compared, settings | {"observer": observer})
        run.finish(result)
    return exit_code(result, error)


def _with_recipe(
    setup: TrainingSetup, test: RangeTestOptions, training: TrainingOptions
) -> tuple[RangeTestOptions, TrainingOptions, bool | str]:
    """Fill in options that are not given with those of the recipe's [lr]; also returns `find_lr`'s argument `confirm`."""
    confirm: bool | str = "full" if test.confirm == "full" else test.confirm is not None
    if setup.recipe is None:
        return test, training, confirm
    given = setup.recipe.lr
    test = replace(
        test,
        lowest=test.lowest or given.lowest,
        highest=test.highest or given.highest,
        steps=test.steps or given.steps,
        repeats=test.repeats or given.repeats,
    )
    compares = len(training.optimizer) > 0 or len(training.batch) > 1
    training = replace(
        training,
        training_steps=training.training_steps or given.training_steps,
        batch=training.batch or ((given.batch,) if given.batch else ()),
        optimizer=training.optimizer or ((given.optimizer,) if given.optimizer else ()),
        per=training.per or (None if compares else given.per),
    )
    return test, training, confirm or given.confirm


def _checked_settings(test: RangeTestOptions, confirm: bool | str, training_steps: int | None) -> dict[str, Any]:
    """Return the arguments of `find_lr` for the range tests. Raises UsageError if a value is out of range."""
    from probe.lr.plan import plan_probe

    settings: dict[str, Any] = {
        "lowest_lr": test.lowest or 1e-5,
        "highest_lr": test.highest or 10.0,
        "steps": test.steps,
        "repeats": test.repeats or 1,
        "confirm": confirm,
    }
    plan_probe(**settings, training_steps=training_steps or 1)
    return settings


def _with_training(setup: TrainingSetup, training: TrainingOptions) -> TrainingSetup:
    """Set the hyperparameters of the training. Without a planned length, it is the longest training of the recipe."""
    from probe.cli.inputs import with_settings

    epochs = None
    if not training.training_steps and setup.recipe is not None:
        epochs = setup.recipe.search.fidelity.full_epochs
    return with_settings(
        setup,
        optimizer=training.optimizer[0] if training.optimizer else None,
        batch_size=training.batch[0] if training.batch else None,
        lr_schedule=training.lr_schedule,
        precision=training.precision,
        epochs=epochs,
    )


def _compared(setup: TrainingSetup, training: TrainingOptions) -> tuple[Axis, list[Mapping[str, Any]]] | None:
    """Return what is compared and the hyperparameters of each variant, or None if one probe is enough."""
    from probe.cli.inputs import with_settings
    from probe.errors import UsageError

    comparisons = (
        ("--batch", len(training.batch) > 1),
        ("--optimizer", len(training.optimizer) > 1),
        ("--per", training.per),
    )
    given = [name for name, is_given in comparisons if is_given]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} cannot both be compared.", hint="Compare one of them at a time.")
    if not given:
        return None
    if given == ["--batch"]:
        return "batch_size", [with_settings(setup, batch_size=size).params for size in training.batch]
    if given == ["--optimizer"]:
        return "optimizer", [with_settings(setup, optimizer=name).params for name in training.optimizer]
    return "optimizer", _recipe_optimizers(setup, training.optimizer)


def _recipe_optimizers(setup: TrainingSetup, optimizer: tuple[str, ...]) -> list[Mapping[str, Any]]:
    """Return the center of the recipe's space for each of its optimizers, which is what a search would probe."""
    from probe.errors import UsageError
    from probe.search.space.dimensions import build_space, central_params, optimizers_of

    recipe = setup.recipe
    names = () if recipe is None else optimizers_of(recipe, None)
    if recipe is None or optimizer or not names:
        raise UsageError(
            "--per optimizer needs a recipe whose [space] lists optimizers.",
            hint="Or name the optimizers: --optimizer sgd,adam",
        )
    space, own = build_space(recipe), ("lr_schedule", "precision", "epochs", "batch_size")
    kept = {name: value for name, value in setup.params.items() if name in own}
    return [{**central_params(space, optimizer=name), **kept} for name in names]


def _measure(
    setup: TrainingSetup,
    compared: tuple[Axis, list[Mapping[str, Any]]] | None,
    settings: dict[str, Any],
) -> LrResult | LrComparison:
    """Run one probe, or one for each variant."""
    from probe.lr.find import compare_lrs

    if compared is None:
        return _find(setup.source, params=setup.params, **settings)
    axis, variants = compared
    return compare_lrs(setup.source, variants, axis=axis, find=_find, begin=settings["observer"], **settings)


def _find(source: TaskSource, **settings: Any) -> LrResult:
    """Call `find_lr`, with errors of the task's code as the command line shows them."""
    from probe.cli.output import task_errors
    from probe.lr.find import find_lr

    with task_errors(source.title):
        return find_lr(source, **settings)
