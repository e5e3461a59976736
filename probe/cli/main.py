"""The command `probe`. Errors become messages and exit codes here."""

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
from probe.cli.output import (
    INTERRUPTED,
    note_start_folder,
    reserve_stdout,
    result_stream,
    show_bug,
    show_click_error,
    show_probe_error,
)
from probe.cli.terminal import echo
from probe.errors import ProbeError
from probe.version import VERSION


@click.group(cls=ProbeGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="probe", message="%(prog)s %(version)s")
def cli() -> None:
    """Find the batch size, the learning rate and the other hyperparameters of a PyTorch training run by measurement."""


for _command in (batch, lr, space, search, train, compare, report, export, data, devices):
    cli.add_command(_command)


def main() -> None:
    """Run the command line of this process, then exit."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot show the letter µ prints a question mark: a long run must not crash at its end.
            stream.reconfigure(errors="replace")
    reserve_stdout(sys.argv[1:])
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code. Never raises."""
    debug = "--debug" in args  # not parsed by click, because it also applies to errors in the command line
    note_start_folder()
    try:
        code = cli.main(args=list(args), prog_name="probe", standalone_mode=False, obj=tuple(args))
        result_stream().flush()
    except BrokenPipeError:
        _drop_output()
        return 1
    except SystemExit as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if raised_in.is_relative_to(Path(click.__file__).parent):  # click exits when a pipe breaks
            _drop_output()
            return 1
        from probe.errors import exit_error

        exited = exit_error("The task's code", error, when="while it is trained", hint="Raise an exception instead.")
        show_probe_error(exited, debug=debug)
        return exited.exit_code
    except (KeyboardInterrupt, click.Abort):
        echo("Interrupted.", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        show_click_error(error)
        return error.exit_code
    except ProbeError as error:
        show_probe_error(error, debug=debug)
        return error.exit_code
    except Exception as error:  # a bug in probe
        show_bug(error, args, debug=debug)
        return 1
    return code if isinstance(code, int) else 0


def _drop_output() -> None:
    """Redirect stdout to the null device: its reader is gone, and flushing it at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), result_stream().fileno())
