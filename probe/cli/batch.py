"""`probe batch`: how large a batch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from probe.cli.layout import ProbeCommand
from probe.cli.options import (
    command_line,
    device_option,
    run_options,
    seed_option,
    source_options,
    trainer_options,
    whole_number,
)

if TYPE_CHECKING:
    from probe.batch.records import BatchResult
    from probe.cli.sources import Subject
    from probe.errors import NothingFitsError


@click.command(
    cls=ProbeCommand,
    short_help="The largest batch that fits, and the one worth using.",
    examples=(
        ("probe batch --model densenet --img 256", "a named model, made-up images"),
        ("probe batch --model resnet18 --img 64 --device simulated:1GiB", "on the CPU, under a limit"),
        ("probe batch --task mytask:task", "function task of mytask.py"),
        ("probe batch recipes/mnist.toml", "the task of a recipe"),
    ),
)
@source_options
@click.option("--start", callback=whole_number(), metavar="N", help="First batch size tried.  [default: 512]")
@click.option("--max", "largest", callback=whole_number(), metavar="N", help="Largest batch size tried.")
@trainer_options
@device_option
@click.option("--memory", metavar="SIZE", help="Measure as if the card had SIZE, like 8GiB.")
@seed_option(0)
@run_options
def batch(
    recipe: Path | None,
    target: str | None,
    model: str | None,
    data: str | None,
    img: int | None,
    start: int | None,
    largest: int | None,
    optimizer: str | None,
    precision: str | None,
    device: str | None,
    memory: str | None,
    seed: int,
    out: Path | None,
    data_dir: Path,
    json_target: str | None,
    quiet: bool,
) -> int:
    """Find the largest batch that fits and the smallest that is as fast: real training steps, halving when memory runs
    out, doubling while it fits.
    """
    from probe.cli.output import INTERRUPTED, open_output
    from probe.cli.progress import open_progress, waiting
    from probe.cli.sources import Asked, find_subject, with_settings
    from probe.device.select import parse_device

    asked = Asked(recipe=recipe, target=target, model=model, data=data, img=img, data_dir=data_dir)
    with waiting("starting", quiet=quiet):
        from probe.batch.find import probe_batch_size

        subject = find_subject(asked)
        if subject.recipe is not None:
            options = subject.recipe.batch
            start, largest = start or options.start, largest or options.max
            optimizer, precision = optimizer or options.optimizer, precision or options.precision
            device, memory = device or options.device, memory or options.memory
            subject = _with_image_size(subject, options.img)
        spec = parse_device(device or "auto", memory=memory)
        subject = with_settings(subject, optimizer=optimizer, precision=precision)
    with open_output(f"batch-{subject.name}", out=out, json_target=json_target, quiet=quiet) as output:
        output.note(subject.note)
        with open_progress("batch", quiet=quiet) as observer:
            result, error = probe_batch_size(
                subject.source,
                params=subject.params,
                device=spec,
                start=start,
                max=largest,
                seed=seed,
                observer=observer,
                argv=command_line(),
                recipe_hash=subject.recipe_hash,
            )
        output.finish(result)
    if error is not None:
        raise error
    if result.stopped_by == "nothing_fits":
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
        hint="Try more memory, smaller images or a smaller model, or --precision bf16.",
    )


def _with_image_size(subject: Subject, image_size: int | None) -> Subject:
    """With the recipe's [batch] img, which is for named data only."""
    from dataclasses import replace

    from probe.zoo.source import NamedSource

    if image_size is None or not isinstance(subject.source, NamedSource):
        return subject
    return replace(subject, source=replace(subject.source, image_size=image_size))
