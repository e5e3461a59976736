"""`probe batch`: how large a batch."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import (
    command_line,
    device_option,
    image_sizes_option,
    optimizer_option,
    precisions_option,
    run_options,
    seed_option,
    source_options,
    whole_number,
)

if TYPE_CHECKING:
    from probe.batch.compare import Axes
    from probe.batch.records import BatchComparison, BatchResult
    from probe.cli.output import Output
    from probe.cli.sources import Subject
    from probe.errors import NothingFitsError, ProbeError
    from probe.records import Precision


@click.command(
    cls=ProbeCommand,
    short_help="The largest batch that fits, and the one worth using.",
    examples=(
        ("probe batch --model densenet --img 256", "a named model; without a GPU, a prediction"),
        ("probe batch --model resnet50 --memory 8GiB", "as on a card of 8 GiB"),
        ("probe batch --model resnet18 --img 64 --device simulated:1GiB", "on the CPU, under a limit"),
        ("probe batch --model vit --img 224,128 --precision fp32,bf16", "compared in one table"),
        ("probe batch --task mytask:task", "function task of mytask.py"),
        ("probe batch recipes/mnist.toml", "the task of a recipe"),
    ),
)
@source_options
@image_sizes_option
@click.option("--start", callback=whole_number(), metavar="N", help="First batch size tried.  [default: as predicted]")
@click.option("--max", "largest", callback=whole_number(), metavar="N", help="Largest batch size tried.")
@optimizer_option
@precisions_option
@click.option("--activation-checkpointing", is_flag=True, help="Compare with and without activation checkpointing.")
@device_option
@click.option("--memory", metavar="SIZE", help="As if the card had SIZE, like 8GiB.")
@click.option(
    "--confirm-steps",
    callback=whole_number(0),
    metavar="N",
    help="Shuffled batches in the run that confirms the answer; 0: none.  [default: 30]",
)
@seed_option(0)
@run_options
def batch(
    recipe: Path | None,
    target: str | None,
    model: str | None,
    data: str | None,
    img: tuple[int, ...],
    start: int | None,
    largest: int | None,
    optimizer: str | None,
    precision: tuple[str, ...],
    activation_checkpointing: bool,
    device: str | None,
    memory: str | None,
    confirm_steps: int | None,
    seed: int,
    out: Path | None,
    data_dir: Path,
    json_target: str | None,
    quiet: bool,
) -> int:
    """Find the largest batch that fits and the smallest that is as fast: real training steps, halving when memory runs
    out, doubling while it fits. Without a GPU, predict what fits on common cards.
    """
    from probe.cli.live.progress import waiting
    from probe.cli.output import open_output
    from probe.cli.sources import SourceOptions, find_subject, with_settings
    from probe.device.select import parse_device
    from probe.errors import ProbeError
    from probe.records import RunOrigin

    asked = SourceOptions(
        recipe=recipe, target=target, model=model, data=data, img=img[0] if img else None, data_dir=data_dir
    )
    with waiting("starting", quiet=quiet):
        from probe.batch.context import CONFIRM_STEPS

        with contextlib.chdir("."):  # the task's module may change it; a worker that imports it again starts from here
            subject = find_subject(asked)
        if subject.recipe is not None:
            options = subject.recipe.batch
            start, largest = start or options.start, largest or options.max
            optimizer = optimizer or options.optimizer
            precision = precision or ((options.precision,) if options.precision else ())
            device, memory = device or options.device, memory or options.memory
            subject = _with_image_size(subject, options.img)
        spec = parse_device(device or "auto", memory=memory)
        subject = with_settings(subject, optimizer=optimizer, precision=precision[0] if precision else None)
        axes = _axes(subject, img, precision, activation_checkpointing=activation_checkpointing)
    settings = {
        "device": spec,
        "start": start,
        "max": largest,
        "seed": seed,
        "confirm_steps": CONFIRM_STEPS if confirm_steps is None else confirm_steps,
        "origin": RunOrigin(argv=command_line(), recipe_hash=subject.recipe_hash),
    }
    with open_output(f"batch-{subject.name}", out=out, json_target=json_target, quiet=quiet) as output:
        output.note(subject.note)
        error: ProbeError | None = None
        try:
            result = _probe(subject, axes, settings, output)
        except ProbeError as raised:
            if raised.result is None:
                raise
            result, error = raised.result, raised
        output.finish(result)
    return _ended(result, error)


def _probe(
    subject: Subject, axes: Axes | None, settings: dict[str, Any], output: Output
) -> BatchResult | BatchComparison:
    """One sweep, or one for every combination of what is compared."""
    from probe.batch.compare import compare_batch_sizes
    from probe.batch.find import find_batch_size
    from probe.batch.sweep import SweepOptions
    from probe.cli.live.progress import open_progress

    with open_progress("batch", quiet=output.quiet) as observer:
        settings = settings | {"observer": observer, "options": SweepOptions(announce=observer)}
        if axes is None:
            return find_batch_size(subject.source, params=subject.params, **settings)
        return compare_batch_sizes(subject.source, axes, params=subject.params, begin=observer, **settings)


def _axes(
    subject: Subject, img: tuple[int, ...], precision: tuple[str, ...], *, activation_checkpointing: bool
) -> Axes | None:
    """What is compared; None where one sweep answers it all."""
    from probe.batch.compare import Axes

    if len(img) < 2 and len(precision) < 2 and not activation_checkpointing:
        return None
    own = str(subject.params.get("precision", "fp32"))
    return Axes(
        image_sizes=img,
        precisions=cast("tuple[Precision, ...]", precision or (own,)),
        activation_checkpointing=(False, True)
        if activation_checkpointing
        else (bool(subject.params.get("activation_checkpointing", False)),),
    )


def _ended(result: BatchResult | BatchComparison, error: ProbeError | None) -> int:
    """The exit code. Raises the error that ended the run, and NothingFitsError where nothing fits."""
    from probe.cli.output import INTERRUPTED

    if error is not None:
        raise error
    if result.kind == "batch" and result.stopped_by == "nothing_fits":
        raise nothing_fits(result)
    return INTERRUPTED if result.stopped_by == "interrupted" else 0


def nothing_fits(result: BatchResult) -> NothingFitsError:
    """Not even one sample: what was given, and what to do about it."""
    from probe.errors import NothingFitsError
    from probe.units import format_bytes

    limit = f" in {format_bytes(result.limit_bytes)}" if result.limit_bytes is not None else ""
    return NothingFitsError(
        f"Nothing fits: {result.task} cannot be trained{limit} with {result.optimizer} in {result.precision}, "
        "not even at batch size 1.",
        hint="What would fit, as predicted, is listed above and in the report."
        if result.alternatives
        else "It takes more memory or a smaller model.",
    )


def _with_image_size(subject: Subject, image_size: int | None) -> Subject:
    """With the recipe's [batch] img, which is for named data only."""
    from dataclasses import replace

    from probe.tasks.source import NamedSource

    if image_size is None or not isinstance(subject.source, NamedSource):
        return subject
    return replace(subject, source=replace(subject.source, image_size=image_size))
