"""Options that several commands share, each declared once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])
Value = TypeVar("Value", int, str)

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
"""Spelled out here because probe.records would be imported for every --help; a test holds the two together."""


def whole_number(least: int = 1) -> Callable[[click.Context, click.Parameter, str | None], int | None]:
    """A callback for whole numbers from `least` on. click's own IntRange would put its range into every line of help."""

    def check(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
        if value is None:
            return None
        number = int(value) if re.fullmatch("[0-9]{1,19}", str(value)) else -1
        if not least <= number < 2**63:
            raise click.BadParameter(f"'{value}' is not a whole number of at least {least}.")
        return number

    return check


def whole_numbers(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, ...]:
    """A callback for one whole number or several, separated by commas: `512,256,128`. Empty where the option is not given."""
    if value is None:
        return ()
    check = whole_number()
    numbers = [check(context, option, part.strip()) for part in value.split(",")]
    return _each_once([number for number in numbers if number is not None])


def optimizers(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    """A callback for one optimizer or several, separated by commas. Empty where the option is not given."""
    if value is None:
        return ()
    names = [part.strip() for part in value.split(",")]
    if "" in names:
        raise click.BadParameter(f"'{value}' has an empty name. Write it like sgd,adam.")
    return _each_once(names)


def precisions(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    """A callback for one precision or several, separated by commas. Empty where the option is not given."""
    if value is None:
        return ()
    names = [part.strip() for part in value.split(",")]
    for name in names:
        if name not in PRECISIONS:
            raise click.BadParameter(f"'{name}' is not one of {', '.join(PRECISIONS)}.")
    return _each_once(names)


def _each_once(values: Sequence[Value]) -> tuple[Value, ...]:
    for value in values:
        if values.count(value) > 1:
            raise click.BadParameter(f"'{value}' is named twice.")
    return tuple(values)


def positive_number(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """A callback for finite numbers above zero, like 3e-4."""
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise click.BadParameter(f"'{value}' is not a number above zero. Write it like 0.0003 or 3e-4.")
    return number


def source_options(command: Command) -> Command:
    """What is trained: a recipe, a task or a named model."""
    return _apply(
        command,
        click.argument("recipe", required=False, type=click.Path(path_type=Path)),
        click.option("--task", "target", metavar="M:F", help="Function F of module M that returns a probe.Task."),
        click.option("--model", metavar="NAME", help="A named model: mlp, cnn, or one of torchvision's."),
        click.option(
            "--data", metavar="NAME", help="Data for --model: digits, mnist, csv:PATH, ...  [default: synthetic]"
        ),
    )


image_size_option = click.option(
    "--img", callback=whole_number(), metavar="N", help="Image height and width for --model."
)
image_sizes_option = click.option(
    "--img", callback=whole_numbers, metavar="N,..", help="Image height and width for --model; several are compared."
)
optimizer_option = click.option("--optimizer", metavar="NAME", help="sgd, adam, adamw, ...  [default: the task's own]")
optimizers_option = click.option(
    "--optimizer", callback=optimizers, metavar="NAME,..", help="sgd, adam, adamw, ...; several are compared."
)
lr_schedule_option = click.option("--lr-schedule", metavar="NAME", help="constant, cosine, one-cycle or linear.")
precision_option = click.option(
    "--precision", metavar="P", type=click.Choice(PRECISIONS), help=f"{', '.join(PRECISIONS)}."
)
precisions_option = click.option(
    "--precision", callback=precisions, metavar="P,..", help=f"{', '.join(PRECISIONS)}; several are compared."
)


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    envvar="PROBE_DATA",
    default=Path("data"),
    help="Where data sets are kept.  [default: $PROBE_DATA, else data]",
)


def run_options(command: Command) -> Command:
    """Where a run reads and writes, what it says while it works."""
    return _apply(
        command,
        click.option(
            "--out",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="The run's folder.  [default: reports/<name>-<UTC time>]",
        ),
        data_dir_option,
        json_option,
        quiet_option,
        debug_option,
    )


def seed_option(default: int | None) -> Callable[[Command], Command]:
    """A seed of `default`; None: the recipe's."""
    help_text = "Seed of every random draw." if default is not None else "Seed of every random draw, not the recipe's."
    return click.option(
        "--seed", callback=whole_number(0), metavar="N", default=default, show_default=True, help=help_text
    )


changes_option = click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a key of the recipe; can be repeated."
)
tries_option = click.option(
    "--try", "tries", multiple=True, metavar="K=V,..", help="A configuration to try first; can be repeated."
)
device_option = click.option("--device", metavar="D", help="auto, cuda[:N], cpu or simulated:SIZE.  [default: auto]")
json_option = click.option(
    "--json", "json_target", metavar="FILE|-", help="Write the result as JSON too; with -, stdout is nothing but JSON."
)
quiet_option = click.option("--quiet", is_flag=True, help="No progress, only the answer.")
debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, help="Show probe's own traceback with an error."
)


def _apply(command: Command, *decorators: Callable[[Command], Command]) -> Command:
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def command_line() -> tuple[str, ...]:
    """The command line of this run, for its record."""
    return ("probe", *click.get_current_context().find_root().ensure_object(tuple))
