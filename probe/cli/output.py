"""Where the answer, the JSON, the report and the errors of a command go. All places are checked before anything is measured."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from probe.cli.options import OutputOptions
from probe.cli.terminal import echo
from probe.errors import OutputError, ProbeError, UserCodeError
from probe.printable import shell_line

if TYPE_CHECKING:
    from probe.report.kinds import Result
    from probe.report.shared.summary import Line

INTERRUPTED = 130
"""Exit code that shells expect of a command ended by Ctrl-C: 128 + SIGINT."""

Measured = TypeVar("Measured")

_result_stdout: TextIO | None = None
"""Standard output as it was before `reserve_stdout`, or None if it was not reserved."""


def reserve_stdout(args: Sequence[str]) -> None:
    """With `--json -`, reserve standard output for the result: whatever the task's code, its libraries and child processes
    print goes to standard error until the process ends."""
    global _result_stdout
    if "--json=-" not in args and ("--json", "-") not in pairwise(args):
        return
    _result_stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace")
    os.dup2(2, 1)


_start_folder = Path()
"""Folder in which the command was started."""


def note_start_folder() -> None:
    """Remember the current folder: relative paths refer to it, even if the task's module changes the current folder."""
    global _start_folder
    with suppress(FileNotFoundError):  # the folder was removed
        _start_folder = Path.cwd()


def result_stream() -> TextIO:
    """Return the stream for results on standard output."""
    return sys.stdout if _result_stdout is None else _result_stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Destinations of one run."""

    folder: Path
    """Existing, empty folder. The path is absolute, because the task's code may change the current folder."""
    shown_folder: Path
    """The same folder as the user wrote it."""
    json_target: str | None
    """`-`, the absolute path of a file, or None."""
    quiet: bool

    def print_answer(self, lines: Sequence[Line]) -> None:
        """Print lines of the answer to stdout, or to stderr if stdout is reserved for JSON."""
        from probe.cli.answers import print_lines

        print_lines(lines, err=self.json_target == "-")

    def print_note(self, line: str | None) -> None:
        """Print a line about progress to stderr, unless it is None or the run is quiet."""
        if line is not None and not self.quiet:
            echo(line, err=True)

    def finish(self, result: Result) -> None:
        """Print the answer, then write the JSON and the report. The answer comes first, so that a full disk cannot hide it."""
        from probe.cli.answers import answer_lines
        from probe.cli.live.progress import waiting
        from probe.report.store import result_text, save_result

        self.print_answer(answer_lines(result))
        if self.json_target == "-":
            click.echo(result_text(result), file=result_stream(), nl=False)
        elif self.json_target is not None:
            save_result(result, Path(self.json_target))
        with waiting("drawing the report", quiet=self.quiet):
            from probe.report.store import write_report

            path = write_report(result, self.folder)
        self.print_answer([("Report", str(self.shown_folder / path.name))])


@contextmanager
def open_output(name: str, options: OutputOptions, *, resume: bool = False) -> Iterator[Output]:
    """Create the folder of the run `name`, or find the one to resume. On exit, an empty folder is removed again."""
    from datetime import UTC, datetime

    from probe.cli.inputs import run_to_resume
    from probe.report.store import default_folder, prepare_folder

    target = options.json_target
    with chdir(_start_folder):
        check_json_target(target)
        new_folder = options.out or default_folder(name, datetime.now(UTC))
        shown = run_to_resume(name, options.out) if resume else prepare_folder(new_folder)
        folder = shown.absolute()
        if target is not None and target != "-":
            target = str(Path(target).absolute())
    try:
        yield Output(folder=folder, shown_folder=shown, json_target=target, quiet=options.quiet)
    finally:
        with suppress(OSError):  # not empty
            folder.rmdir()


def check_json_target(target: str | None) -> None:
    """Raise OutputError unless `--json` names stdout or a file that can be created."""
    if target is None or target == "-":
        return
    path = Path(target)
    if path.exists():
        raise OutputError(f"--json: {path} already exists.", hint="Give the name of a new file.")
    if not path.parent.is_dir():
        raise OutputError(
            f"--json: there is no folder {path.parent}.",
            hint=f"Create it: {shell_line(['mkdir', '-p', str(path.parent)])}",
        )
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"--json: {path.parent} is not writable.", hint="Give a file in another folder.")


def with_partial_result(
    measure: Callable[..., Measured], *args: Any, **kwargs: Any
) -> tuple[Measured, ProbeError | None]:
    """Call `measure`. If it fails after it measured something, return its partial result and the error."""
    try:
        return measure(*args, **kwargs), None
    except ProbeError as error:
        if error.result is None:
            raise
        return error.result, error


def exit_code(result: Any, error: ProbeError | None) -> int:
    """Return the exit code of a finished or interrupted run, or raise the error that ended it."""
    if error is not None:
        raise error
    return INTERRUPTED if result.stopped_by == "interrupted" else 0


PROBE_FOLDER = Path(__file__).parents[1]


@contextmanager
def task_errors(title: str) -> Iterator[None]:
    """Translate exceptions raised while the task `title` is trained in this process. Bugs of probe are raised unchanged."""
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
        echo(f"See {context.command_path} --help.", err=True)


def show_probe_error(error: ProbeError, *, debug: bool) -> None:
    """Print an error and its hint, with the traceback of the task's code if that raised it."""
    if debug:
        _echo_traceback(error)
    if isinstance(error, UserCodeError):
        echo(error.traceback.rstrip("\n"), err=True)
    _echo_error(error.message)
    if error.hint is not None:
        echo(error.hint, err=True)


def show_bug(error: Exception, args: Sequence[str], *, debug: bool) -> None:
    """Print an unexpected exception, and how to report it."""
    if debug:
        _echo_traceback(error)
    _echo_error(f"This is a bug in probe: {type(error).__name__}: {error}")
    echo("Please report it with the command line and its output.", err=True)
    if not debug:
        echo(f"For the traceback, run: {shell_line(['probe', *args, '--debug'])}", err=True)


def _echo_traceback(error: Exception) -> None:
    echo("".join(traceback.format_exception(error)).rstrip("\n"), err=True)


def _echo_error(message: str) -> None:
    echo(message, err=True, head=click.style("Error:", fg="red", bold=True) + " ")
