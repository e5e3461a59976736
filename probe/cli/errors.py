"""Errors on the screen, and errors of the task's code told apart from bugs of probe."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from probe.errors import ProbeError, UserCodeError

PROBE_FOLDER = Path(__file__).parents[1]


@contextmanager
def task_errors(title: str) -> Iterator[None]:
    """Translate exceptions raised while the task `title` is trained in this process.

    Raises:
        NothingFitsError: a training step ran out of memory.
        UserCodeError: the task's code raised. Bugs of probe are raised unchanged.
    """
    from probe.device.failures import find_failure
    from probe.errors import NothingFitsError, user_code_error

    try:
        yield
    except Exception as error:
        failure, culprit = find_failure(error)
        if failure in ("oom", "host_oom"):
            raise NothingFitsError(
                f"A training step of {title} does not fit into memory: {culprit}",
                hint="Use a smaller batch size; `probe batch` finds the largest one that fits.",
            ) from None
        if isinstance(error, ProbeError) or (failure is None and _raised_by_probe(error)):
            raise
        hint = None
        if failure == "kernel_limit":
            hint = "This may be a limit of a GPU kernel: `probe batch` finds out whether a smaller batch size runs."
        message = f"Training {title} raised {type(error).__name__}: {error}"
        raise user_code_error(message, error, hint=hint) from None


def _raised_by_probe(error: Exception) -> bool:
    """Return whether the innermost frame is probe's own."""
    innermost = traceback.extract_tb(error.__traceback__)[-1].filename
    return Path(innermost).is_relative_to(PROBE_FOLDER)


def show_click_error(error: click.ClickException) -> None:
    """Print an error in the command line, and where to find help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return
    _echo_error(error.format_message())
    context = getattr(error, "ctx", None)
    if context is not None:
        click.echo(f"See {context.command_path} --help.", err=True)


def show_probe_error(error: ProbeError, *, debug: bool) -> None:
    """Print an error and its hint, with the traceback of the task's code if that raised it."""
    if debug:
        _echo_traceback(error)
    if isinstance(error, UserCodeError):
        click.echo(error.traceback.rstrip("\n"), err=True)
    _echo_error(error.message)
    if error.hint is not None:
        click.echo(error.hint, err=True)


def show_bug(error: Exception, args: Sequence[str], *, debug: bool) -> None:
    """Print an unexpected exception, and how to report it."""
    if debug:
        _echo_traceback(error)
    _echo_error(f"This is a bug in probe: {type(error).__name__}: {error}")
    click.echo("Please report it with the command line and its output.", err=True)
    if not debug:
        click.echo(f"For the traceback, run: probe {' '.join([*args, '--debug'])}", err=True)


def _echo_traceback(error: Exception) -> None:
    click.echo("".join(traceback.format_exception(error)), err=True, nl=False)


def _echo_error(message: str) -> None:
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {message}", err=True)
