"""`probe devices`: show the GPUs, the software and the memory of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from probe.cli.help_layout import ProbeCommand

if TYPE_CHECKING:
    from probe.device.environment import EnvironmentReport
    from probe.device.protocol import GpuReport
    from probe.report.shared.summary import Line


@click.command(
    cls=ProbeCommand,
    short_help="Show what probe finds on this machine, and what is missing.",
    examples=(("probe devices", "Show GPUs, driver, CUDA, PyTorch and memory"),),
)
def devices() -> None:
    """Show what probe finds on this machine, what is missing, and what that means for measurements."""
    from probe.cli.answers import print_lines
    from probe.device.environment import describe_environment

    print_lines(environment_rows(describe_environment()))


def environment_rows(found: EnvironmentReport) -> list[Line]:
    """Return the report as labelled lines."""
    from probe.report.shared.summary import labelled
    from probe.report.shared.wording import plural
    from probe.units import format_bytes

    memory = [
        f"{format_bytes(size)} {kind}"
        for size, kind in ((found.total_memory_bytes, "in total"), (found.free_memory_bytes, "free"))
        if size is not None
    ]
    return [
        *labelled("GPU", [gpu_line(gpu) for gpu in found.gpus] or ["none that PyTorch can use"]),
        ("Driver", found.driver_version or "not found"),
        ("NVML", "available" if found.nvml_available else "not available"),
        ("CUDA", f"{found.cuda_version} (PyTorch's)" if found.cuda_version else "not part of this build of PyTorch"),
        *labelled("ROCm", [f"{found.rocm_version} (PyTorch's)" if found.rocm_version else None]),
        ("PyTorch", found.torch_version),
        ("Python", f"{found.python_version} on {found.platform}"),
        ("probe", found.probe_version),
        ("CPU", plural(found.num_cores, "core")),
        ("Memory", ", ".join(memory) or "could not be determined"),
        *labelled("Note", found.notes),
    ]


def gpu_line(gpu: GpuReport) -> str:
    """Return a GPU, its memory and the processes that use it, in one line."""
    from probe.units import format_bytes

    total = f", {format_bytes(gpu.total_bytes)}" if gpu.total_bytes is not None else ""
    free = f", {format_bytes(gpu.free_bytes)} free" if gpu.free_bytes is not None else ""
    users = f"; used by {', '.join(gpu.users)}" if gpu.users else ""
    problem = f"; cannot be used: {gpu.problem}" if gpu.problem is not None else ""
    untested = "; untested" if gpu.untested is not None else ""
    return f"{gpu.device} {gpu.name}{total}{free}{users}{problem}{untested}"
