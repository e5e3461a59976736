"""The command `probe`: the one place that turns errors into sentences and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from probe.cli.commands.batch import batch
from probe.cli.commands.compare import compare
from probe.cli.commands.data import data
from probe.cli.commands.devices import devices
from probe.cli.commands.export import export
from probe.cli.commands.lr import lr
from probe.cli.commands.report import report
from probe.cli.commands.search import search
from probe.cli.commands.space import space
from probe.cli.commands.train import train
from probe.cli.help_layout import ProbeGroup
from probe.cli.output import INTERRUPTED, note_start_folder, reserve_stdout, result_stream
from probe.errors import ProbeError, UserCodeError
from probe.version import VERSION


@click.group(cls=ProbeGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="probe", message="%(prog)s %(version)s")
def cli() -> None:
    """How large a batch, which learning rate, which hyperparameters: measured answers for PyTorch training runs."""


for _command in (batch, lr, space, search, train, compare, report, export, data, devices):
    cli.add_command(_command)


def main() -> None:
    """Run the command line of this process and exit."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal without the letter µ gets a question mark instead of a crash at the end of a long run.
            stream.reconfigure(errors="replace")
    reserve_stdout(sys.argv[1:])
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Run one command line; returns its exit code and never raises."""
    debug = "--debug" in args  # read by hand: it must work for errors in the command line itself, too
    note_start_folder()
    try:
        code = cli.main(args=list(args), prog_name="probe", standalone_mode=False, obj=tuple(args))
        result_stream().flush()
    except BrokenPipeError:
        _drop_output()
        return 1
    except SystemExit as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if raised_in.is_relative_to(Path(click.__file__).parent):  # click itself exits where a pipe breaks under it
            _drop_output()
            return 1
        from probe.errors import exit_error

        told = exit_error("The task's code", error, when="while it is trained", hint="Raise an exception instead.")
        _show_probe_error(told, debug)
        return told.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        _show_click_error(error)
        return error.exit_code
    except ProbeError as error:
        _show_probe_error(error, debug)
        return error.exit_code
    except Exception as error:  # a bug of ours: the boundary where it becomes a sentence
        _show_bug(error, debug, args)
        return 1
    return code if isinstance(code, int) else 0


def _show_click_error(error: click.ClickException) -> None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return
    _echo_error(error.format_message())
    context = getattr(error, "ctx", None)
    if context is not None:
        click.echo(f"See {context.command_path} --help.", err=True)


def _show_probe_error(error: ProbeError, debug: bool) -> None:
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if isinstance(error, UserCodeError):
        click.echo(error.traceback.rstrip("\n"), err=True)
    _echo_error(error.message)
    if error.hint is not None:
        click.echo(error.hint, err=True)


def _show_bug(error: Exception, debug: bool, args: Sequence[str]) -> None:
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    _echo_error(f"probe has a bug: {type(error).__name__}: {error}")
    again = "" if debug else f" --debug, which shows where: probe {' '.join([*args, '--debug'])}"
    click.echo(
        f"Please report it with the command that you ran and its output{' with' if again else ''}{again}", err=True
    )


def _echo_error(message: str) -> None:
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {message}", err=True)


def _drop_output() -> None:
    """Point stdout at nothing: whoever read it is gone, and Python would complain once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), result_stream().fileno())
