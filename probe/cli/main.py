"""The command `probe`. Errors become messages and exit codes here."""

from __future__ import annotations

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
from probe.cli.interrupts import (
    hold_interrupts,
    install_handlers,
    interrupted_exit_code,
    interrupted_text,
    was_interrupted,
)
from probe.cli.output import note_start_folder, reserve_stdout, show_bug, show_click_error, show_probe_error
from probe.cli.streams import check_stdout, protect_streams
from probe.cli.terminal import echo
from probe.errors import ProbeError, TaskError
from probe.system.module_names import namesake_of
from probe.version import VERSION


@click.group(cls=ProbeGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="probe", message="%(prog)s %(version)s")
def cli() -> None:
    """Find the batch size, the learning rate and the other hyperparameters of a PyTorch training run by measurement."""


for _command in (batch, lr, space, search, train, compare, report, export, data, devices):
    cli.add_command(_command)


def main() -> None:
    """Run the command line of this process, then exit."""
    protect_streams()
    reserve_stdout(sys.argv[1:])
    install_handlers()
    code = run(sys.argv[1:])
    try:
        check_stdout()
    except ProbeError as error:
        show_probe_error(error, debug=False)
        code = code or error.exit_code
    sys.exit(code)


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code. Never raises."""
    debug = "--debug" in args  # not parsed by click, because it also applies to errors in the command line
    note_start_folder()
    try:
        code = _run_command(args)
    except SystemExit as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if raised_in.is_relative_to(Path(click.__file__).parent) and isinstance(error.__context__, OSError):
            show_bug(error.__context__, args, debug=debug)  # click takes any broken pipe for that of standard output
            return 1
        from probe.errors import exit_error

        exited = exit_error("The task's code", error, when="while it is trained", hint="Raise an exception instead.")
        show_probe_error(exited, debug=debug)
        return exited.exit_code
    except (KeyboardInterrupt, click.Abort):
        echo(interrupted_text(), err=True)
        return interrupted_exit_code()
    except click.ClickException as error:
        show_click_error(error)
        return error.exit_code
    except ProbeError as error:
        show_probe_error(error, debug=debug)
        return error.exit_code
    except OSError as error:  # a path that cannot be used, or a limit of the system
        from probe.files import system_error

        return _show_translated(system_error(error), error, debug=debug)
    except Exception as error:
        hint = namesake_of(error)
        if hint is None:
            show_bug(error, args, debug=debug)
            return 1
        return _show_translated(TaskError(f"{type(error).__name__}: {error}", hint=hint), error, debug=debug)
    return code


def _show_translated(shown: ProbeError, error: Exception, *, debug: bool) -> int:
    shown.__cause__ = error
    show_probe_error(shown, debug=debug)
    return shown.exit_code


def _run_command(args: Sequence[str]) -> int:
    """Return the exit code of a command that ended without an error."""
    try:
        code = cli.main(args=list(args), prog_name="probe", standalone_mode=False, obj=tuple(args))
    finally:
        hold_interrupts()  # an error that is being shown is shown completely
    if was_interrupted():  # while the report was drawn
        return interrupted_exit_code()
    return code if isinstance(code, int) else 0
