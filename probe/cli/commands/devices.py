"""`probe devices`: what probe sees of this machine, what is missing, and what that means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import debug_option

if TYPE_CHECKING:
    from probe.device.environment import EnvironmentReport, GpuReport
    from probe.report.shared.summary import Line


@click.command(
    cls=ProbeCommand,
    short_help="What probe sees of this machine, and what is missing.",
    examples=(("probe devices", "GPUs, driver, CUDA, PyTorch, memory"),),
)
@debug_option
def devices() -> None:
    """Print what probe sees of this machine, what is missing, and what that means."""
    from probe.cli.answers.layout import layout_lines
    from probe.device.environment import describe_environment

    for line in layout_lines(environment_rows(describe_environment())):
        click.echo(line)


def environment_rows(found: EnvironmentReport) -> list[Line]:
    """The report as labelled lines."""
    from probe.report.shared.summary import labelled
    from probe.units import format_bytes

    memory = [
        f"{format_bytes(size)} {word}"
        for size, word in ((found.total_memory_bytes, "in all"), (found.free_memory_bytes, "free"))
        if size is not None
    ]
    return [
        *labelled("GPU", [gpu_line(gpu) for gpu in found.gpus] or ["none that PyTorch can use"]),
        ("Driver", found.driver_version or "not found"),
        ("NVML", "works" if found.nvml_available else "not available"),
        ("CUDA", f"{found.cuda_version} (PyTorch's)" if found.cuda_version else "this PyTorch is built without it"),
        ("PyTorch", found.torch_version),
        ("Python", f"{found.python_version} on {found.platform}"),
        ("probe", found.probe_version),
        ("CPU", f"{found.num_cores} core{'' if found.num_cores == 1 else 's'}"),
        ("Memory", ", ".join(memory) or "this system does not say"),
        *labelled("Note", found.notes),
    ]


def gpu_line(gpu: GpuReport) -> str:
    from probe.units import format_bytes

    free = f", {format_bytes(gpu.free_bytes)} free" if gpu.free_bytes is not None else ""
    users = f"; used by {', '.join(gpu.users)}" if gpu.users else ""
    return f"cuda:{gpu.index} {gpu.name}, {format_bytes(gpu.total_bytes)}{free}{users}"
