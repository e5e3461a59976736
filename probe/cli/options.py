"""Command-line options as dataclasses: a command takes a few groups of options instead of twenty parameters.

    @dataclass(frozen=True, kw_only=True)
    class StepOptions:
        title: ClassVar = "Steps"
        num_steps: int | None = option("--steps", callback=whole_number(), metavar="N", help="Number of steps.")

    @click.command(cls=ProbeCommand)
    @with_options(steps=StepOptions, output=OutputOptions)
    def command(steps: StepOptions, output: OutputOptions) -> int: ...

`title` is the heading of the group in `--help`. Only click is imported here, so that `--help` is fast.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click

from probe.cli.help_layout import SectionArgument, SectionOption
from probe.limits import LARGEST, MAX_INTEGER, SMALLEST, is_number

Value = TypeVar("Value", int, str)
Command = Callable[..., Any]

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
"""Equal to probe.records.Precision, which is not imported so that `--help` is fast; a test compares the two."""


def option(*flags: str, **settings: Any) -> Any:
    """Declare a dataclass field that is read from the command line. The arguments are those of `click.option`."""
    return dataclasses.field(metadata={"click": functools.partial(click.option, *flags, cls=SectionOption, **settings)})


def argument(**settings: Any) -> Any:
    """Declare a dataclass field that is a positional argument. The keywords are those of `click.argument`, and `help`."""
    return dataclasses.field(metadata={"click": functools.partial(click.argument, cls=SectionArgument, **settings)})


def with_options(**groups: type[Any]) -> Callable[[Command], Command]:
    """Declare the options of each group, and call the command with one dataclass per group."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def call(**values: Any) -> Any:
            return command(
                **{
                    name: group(**{field.name: values[field.name] for field in dataclasses.fields(group)})
                    for name, group in groups.items()
                }
            )

        declared: Command = call
        for group in reversed(groups.values()):
            for field in reversed(dataclasses.fields(group)):
                declared = field.metadata["click"](field.name, section=group.title)(declared)
        return declared

    return decorate


def whole_number(most: int, *, least: int = 1) -> Callable[[click.Context, click.Parameter, str | None], int | None]:
    """Return a callback for whole numbers from `least` to `most`. click's IntRange would print its range in every help line."""

    def check(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
        if value is None:
            return None
        text = str(value)
        if re.fullmatch("[0-9]+", text) and (len(text.lstrip("0")) > len(str(most)) or int(text) > most):
            raise click.BadParameter(f"'{_shortened(text)}' is too large: at most {most:,} is allowed.")
        if not re.fullmatch("[0-9]+", text) or int(text) < least:
            raise click.BadParameter(f"'{_shortened(text)}' is not a whole number of at least {least}.")
        return int(text)

    return check


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."


def single_whole_number(most: int) -> Callable[[click.Context, click.Parameter, str | None], tuple[int, ...]]:
    """Return a callback for one whole number, as a tuple like that of `whole_numbers`."""

    def check(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
        number = whole_number(most)(context, parameter, value)
        return () if number is None else (number,)

    return check


def whole_numbers(most: int) -> Callable[[click.Context, click.Parameter, str | None], tuple[int, ...]]:
    """Return a callback for whole numbers separated by commas, like `512,256,128`. Empty if the option is not given."""

    def check(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
        numbers = [whole_number(most)(context, parameter, part) for part in _parts(value)]
        return _without_duplicates([number for number in numbers if number is not None])

    return check


def optimizers(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Callback for optimizers separated by commas. Empty if the option is not given."""
    names = _parts(value)
    if "" in names:
        raise click.BadParameter(f"'{value}' contains an empty name. Write it like sgd,adam.")
    return _without_duplicates(names)


def precisions(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Callback for precisions separated by commas. Empty if the option is not given."""
    names = _parts(value)
    for name in names:
        if name not in PRECISIONS:
            raise click.BadParameter(f"'{name}' is not one of {', '.join(PRECISIONS)}.")
    return _without_duplicates(names)


def _parts(value: str | None) -> list[str]:
    return [] if value is None else [part.strip() for part in value.split(",")]


def positive_number(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Callback for numbers above zero, like 3e-4."""
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise click.BadParameter(f"'{_shortened(value)}' is not a number above zero. Write it like 0.0003 or 3e-4.")
    if not is_number(number):
        raise click.BadParameter(f"'{_shortened(value)}' must be between {SMALLEST:g} and {LARGEST:g}.")
    return number


def _without_duplicates(values: Sequence[Value]) -> tuple[Value, ...]:
    for value in values:
        if values.count(value) > 1:
            raise click.BadParameter(f"'{value}' is given twice.")
    return tuple(values)


def command_line() -> tuple[str, ...]:
    """Return the command line of this run, for its record."""
    return ("probe", *click.get_current_context().find_root().ensure_object(tuple))


def path_option(flag: str, *, metavar: str, help: str, **settings: Any) -> Any:
    """Declare a field that is a path, which need not exist."""
    return option(flag, type=Path, metavar=metavar, help=help, **settings)


def recipe_argument() -> Any:
    """Declare an optional recipe."""
    return argument(required=False, type=Path, help="Recipe file.  [default: probe.toml]")


def run_argument(help: str = "Folder of a run, or its result.json.") -> Callable[[Command], Command]:
    """Declare the folder of a run."""
    return click.argument("run", type=Path, cls=SectionArgument, help=help)


def data_dir_option() -> Any:
    """Declare the folder of the data sets."""
    help_text = "Folder of the data sets.  [default: $PROBE_DATA, data]"
    return path_option("--data-dir", metavar="DIR", help=help_text, envvar="PROBE_DATA", default=Path("data"))


def device_option() -> Any:
    """Declare the device to measure or train on."""
    return option("--device", metavar="D", help="auto, cuda[:N], xpu[:N], mps, cpu or simulated:SIZE.  [default: auto]")


_seed = whole_number(MAX_INTEGER, least=0)


def seed_option() -> Any:
    """Declare a seed."""
    return option("--seed", callback=_seed, metavar="N", default=0, show_default=True, help="Random seed.")


def recipe_seed_option() -> Any:
    """Declare a seed that replaces the recipe's."""
    return option("--seed", callback=_seed, metavar="N", help="Random seed.  [default: the recipe's]")


def set_option() -> Any:
    """Declare changes to a recipe."""
    help_text = "Change a key of the recipe; can be repeated."
    return option("--set", multiple=True, metavar="KEY=VALUE", help=help_text)


def trust_option() -> Any:
    """Declare whether the task of someone else's search may be imported."""
    return option("--trust", is_flag=True, help="Run the code of a search that you have not started.")


def quiet_option() -> Any:
    """Declare whether progress is hidden."""
    return option("--quiet", is_flag=True, help="Print only the answer, no progress.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOptions:
    """Device and seed of a measurement."""

    title: ClassVar = "Device"
    device: str | None = device_option()
    seed: int = seed_option()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOptions:
    """A recipe, and changes to it."""

    title: ClassVar = "Recipe"
    recipe: Path | None = recipe_argument()
    changes: tuple[str, ...] = set_option()
    tries: tuple[str, ...] = option(
        "--try", multiple=True, metavar="K=V,..", help="Try this configuration first; can be repeated."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Where a command writes its results, and what it prints."""

    title: ClassVar = "Output"
    out: Path | None = path_option("--out", metavar="DIR", help="Folder of the run.  [default: reports/<name>-<time>]")
    json_target: str | None = option("--json", metavar="FILE|-", help="Also write the result as JSON; - is stdout.")
    quiet: bool = quiet_option()
