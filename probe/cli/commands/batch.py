"""`probe batch`: find the batch size."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.inputs import SourceOptions
from probe.cli.options import (
    OutputOptions,
    command_line,
    device_option,
    option,
    precisions,
    seed_option,
    whole_number,
    with_options,
)
from probe.limits import MAX_MEASURED_STEPS, MAX_SAMPLES

if TYPE_CHECKING:
    from probe.batch.comparison.axes import Axes
    from probe.batch.records import BatchComparison, BatchResult
    from probe.cli.inputs import TrainingSetup
    from probe.cli.live.progress import Observer
    from probe.device.select import DeviceSpec
    from probe.errors import NothingFitsError
    from probe.records import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeOptions:
    """Batch sizes to try."""

    title: ClassVar = "Batch sizes"
    start: int | None = option(
        "--start", callback=whole_number(MAX_SAMPLES), metavar="N", help="First batch size.  [default: as predicted]"
    )
    largest: int | None = option(
        "--max", callback=whole_number(MAX_SAMPLES), metavar="N", help="Largest batch size.  [default: all samples]"
    )
    confirm_steps: int | None = option(
        "--confirm-steps",
        callback=whole_number(MAX_MEASURED_STEPS, least=0),
        metavar="N",
        help="Steps of the final check.  [default: 30]",
    )
    attempt_timeout: str | None = option(
        "--attempt-timeout",
        metavar="TIME",
        help="Time limit of an attempt, like 5m.  [default: 10 times the last size's per sample, at least 2m]",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantOptions:
    """Settings of the training; several of them are compared."""

    title: ClassVar = "Training"
    optimizer: str | None = option("--optimizer", metavar="NAME", help="sgd, adam, adamw, ...  [default: the task's]")
    precision: tuple[str, ...] = option(
        "--precision", callback=precisions, metavar="P,..", help="fp32, tf32, bf16, fp16; several are compared."
    )
    activation_checkpointing: bool = option(
        "--activation-checkpointing", is_flag=True, help="Compare with and without."
    )
    all_variants: bool = option("--variants", is_flag=True, help="Compare fp32, tf32, bf16, channels_last, compile.")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOptions:
    """Device, its memory, and the seed."""

    title: ClassVar = "Device"
    device: str | None = device_option()
    memory: str | None = option("--memory", metavar="SIZE", help="Emulate a GPU with this memory, like 8GiB.")
    seed: int = seed_option()


@click.command(
    cls=ProbeCommand,
    short_help="Find the largest batch size that fits, and the fastest.",
    examples=(
        ("probe batch --model densenet --img 256", "A named model; without a GPU, its memory is predicted"),
        ("probe batch --model resnet50 --memory 8GiB", "Emulate an 8 GiB GPU"),
        ("probe batch --model vit --img 224,128 --precision fp32,bf16", "Compare image sizes and precisions"),
        ("probe batch --task mytask:task", "Your own model: function `task` in mytask.py"),
        ("probe batch --task mytask:task --variants", "Find the fastest way to train it"),
        ("probe batch recipes/mnist.toml --device simulated:1GiB", "A recipe, on the CPU with a memory limit"),
    ),
)
@with_options(
    source=SourceOptions, sizes=SizeOptions, variants=VariantOptions, memory=MemoryOptions, output=OutputOptions
)
def batch(
    source: SourceOptions, sizes: SizeOptions, variants: VariantOptions, memory: MemoryOptions, output: OutputOptions
) -> int:
    """Find the largest batch size that fits into memory, and the smallest one that trains at full speed.

    Runs real training steps: doubles the batch while it fits, halves it when memory runs out. Without a GPU, predicts
    what fits on common GPUs.
    """
    from probe.cli.inputs import find_training_setup, with_settings
    from probe.cli.live.progress import open_progress, waiting
    from probe.cli.output import exit_code, open_output, with_partial_result
    from probe.records import RunOrigin
    from probe.units import parse_seconds

    timeout = None if sizes.attempt_timeout is None else parse_seconds(sizes.attempt_timeout)
    with waiting("starting", quiet=output.quiet):
        from probe.batch.sweep import SweepOptions

        with contextlib.chdir("."):  # the task's module may change it, and workers import that module again
            setup = find_training_setup(source)
        if variants.all_variants:
            _check_alone(source.img, variants)
        setup, sizes, variants, device = _with_recipe(setup, sizes, variants, memory)
        precision = variants.precision[0] if variants.precision else None
        setup = with_settings(setup, optimizer=variants.optimizer, precision=precision)
        compared = "variants" if variants.all_variants else _axes(setup, source.img, variants)
    settings: dict[str, Any] = {
        "device": device,
        "start": sizes.start,
        "max": sizes.largest,
        "seed": memory.seed,
        "origin": RunOrigin(argv=command_line(), recipe_hash=setup.recipe_hash),
        "options": SweepOptions(attempt_timeout=timeout),
    }
    if sizes.confirm_steps is not None:
        settings["confirm_steps"] = sizes.confirm_steps
    with open_output(f"batch-{setup.name}", output) as run:
        run.print_note(setup.note)
        with open_progress("batch", quiet=output.quiet) as observer:
            result, error = with_partial_result(_measure, setup, compared, settings, observer)
        run.finish(result)
    if error is None and result.kind == "batch" and result.stopped_by == "nothing_fits":
        raise nothing_fits(result)
    return exit_code(result, error)


def _with_recipe(
    setup: TrainingSetup, sizes: SizeOptions, variants: VariantOptions, memory: MemoryOptions
) -> tuple[TrainingSetup, SizeOptions, VariantOptions, DeviceSpec]:
    """Fill in options that are not given with those of the recipe's [batch]."""
    from probe.device.select import parse_device
    from probe.tasks.source import NamedSource

    device, size = memory.device, memory.memory
    if setup.recipe is not None:
        given = setup.recipe.batch
        if given.img is not None and isinstance(setup.source, NamedSource):
            setup = replace(setup, source=replace(setup.source, image_size=given.img))
        sizes = replace(sizes, start=sizes.start or given.start, largest=sizes.largest or given.max)
        own_precision = (given.precision,) if given.precision else ()
        variants = replace(
            variants, optimizer=variants.optimizer or given.optimizer, precision=variants.precision or own_precision
        )
        device, size = device or given.device, size or given.memory
    return setup, sizes, variants, parse_device(device or "auto", memory=size)


def _check_alone(image_sizes: tuple[int, ...], variants: VariantOptions) -> None:
    """Raise UsageError if --variants is combined with other comparisons."""
    from probe.errors import UsageError

    compared = [
        ("--img with several sizes", len(image_sizes) > 1),
        ("--precision", bool(variants.precision)),
        ("--activation-checkpointing", variants.activation_checkpointing),
    ]
    others = [name for name, is_given in compared if is_given]
    if others:
        raise UsageError(
            f"--variants cannot be combined with {' or '.join(others)}.",
            hint="It compares precisions and memory formats itself. Run one comparison after the other.",
        )


def _axes(setup: TrainingSetup, image_sizes: tuple[int, ...], variants: VariantOptions) -> Axes | None:
    """Return what is compared in all combinations, or None if nothing is."""
    from probe.batch.comparison.axes import Axes

    if len(image_sizes) < 2 and len(variants.precision) < 2 and not variants.activation_checkpointing:
        return None
    own_precision = str(setup.params.get("precision", "fp32"))
    own_checkpointing = bool(setup.params.get("activation_checkpointing", False))
    return Axes(
        image_sizes=image_sizes,
        precisions=cast("tuple[Precision, ...]", variants.precision or (own_precision,)),
        activation_checkpointing=(False, True) if variants.activation_checkpointing else (own_checkpointing,),
    )


def _measure(
    setup: TrainingSetup, compared: Axes | Literal["variants"] | None, settings: dict[str, Any], observer: Observer
) -> BatchResult | BatchComparison:
    """Run one sweep, or one for each variant that is compared."""
    from probe.batch.comparison.axes import compare_batch_sizes
    from probe.batch.comparison.variants import compare_variants
    from probe.batch.find import find_batch_size

    settings = settings | {"observer": observer, "options": replace(settings["options"], announce=observer)}
    if compared is None:
        return find_batch_size(setup.source, params=setup.params, **settings)
    if compared == "variants":
        return compare_variants(setup.source, params=setup.params, begin=observer, **settings)
    return compare_batch_sizes(setup.source, compared, params=setup.params, begin=observer, **settings)


def nothing_fits(result: BatchResult) -> NothingFitsError:
    """Return the error for a task that does not fit with a single sample."""
    from probe.errors import NothingFitsError
    from probe.units import format_bytes

    limit = f" in {format_bytes(result.limit_bytes)}" if result.limit_bytes is not None else ""
    return NothingFitsError(
        f"Nothing fits: {result.task} cannot be trained{limit} with {result.optimizer} in {result.precision}, "
        "even at batch size 1.",
        hint="Predicted alternatives that fit are listed above and in the report."
        if result.alternatives
        else "Use a device with more memory, or a smaller model.",
    )
