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

from probe.cli.interrupts import hold_interrupts, interrupted_exit_code
from probe.cli.options import OutputOptions
from probe.cli.streams import duplicate_stream, forget_error, is_unwanted, output_error
from probe.cli.terminal import echo
from probe.errors import OutputError, ProbeError, UserCodeError
from probe.printable import shell_line

if TYPE_CHECKING:
    from probe.report.kinds import Result
    from probe.report.shared.summary import Line

Measured = TypeVar("Measured")

_result_stdout: TextIO | None = None
"""Standard output as it was before `reserve_stdout`, or None if it was not reserved."""


def reserve_stdout(args: Sequence[str]) -> None:
    """With `--json -`, reserve standard output for the result: whatever the task's code, its libraries and child processes
    print goes to standard error until the process ends."""
    global _result_stdout
    if "--json=-" not in args and ("--json", "-") not in pairwise(args):
        return
    _result_stdout = duplicate_stream(sys.stdout)
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
        """Write the JSON and the report, then print the answer. Also prints it if they cannot be written."""
        from probe.cli.answers import answer_lines

        try:
            page = self._write(result)
        finally:
            self.print_answer(answer_lines(result))
            if self.json_target == "-":
                self._print_json(result)
        self.print_answer([("Report", str(self.shown_folder / page.name))])
        note_unprinted(self.shown_folder)

    def _write(self, result: Result) -> Path:
        """Write the JSON, then the report, also if the JSON cannot be written. Returns the path of its page."""
        from probe.cli.live.progress import waiting
        from probe.report.store import save_result

        try:
            if self.json_target not in (None, "-"):
                save_result(result, Path(self.json_target))
        finally:
            with waiting("drawing the report", quiet=self.quiet):
                from probe.report.store import write_report

                page = write_report(result, self.folder)
        return page

    def _print_json(self, result: Result) -> None:
        from probe.report.store import RESULT_FILE, result_text

        click.echo(result_text(result), file=result_stream(), nl=False)  # noqa: TID251 - JSON is ASCII, with escapes
        if (error := output_error(result_stream())) is not None:
            raise OutputError(
                f"The result cannot be written to standard output: {error.strerror}.",
                hint=f"It is in {self.shown_folder / RESULT_FILE}.",
            )


def note_unprinted(folder: Path) -> None:
    """Print to stderr that an answer could not be printed to stdout; it is in `folder` as well, so the command succeeds."""
    if (error := forget_error(sys.stdout)) is not None and not is_unwanted(error):
        echo(f"Standard output cannot be written: {error.strerror}. The answer is in {folder}.", err=True)


@contextmanager
def open_output(name: str, options: OutputOptions, *, resume: bool = False) -> Iterator[Output]:
    """Create the folder of the run `name`, or find the one to resume. On exit, an empty folder is removed again."""
    from datetime import UTC, datetime

    from probe.cli.inputs import run_to_resume
    from probe.report.store import make_default_folder, prepare_folder

    target = options.json_target
    with chdir(_start_folder):
        check_json_target(target)
        if resume:
            shown = run_to_resume(name, options.out)
        else:
            shown = prepare_folder(options.out) if options.out else make_default_folder(name, datetime.now(UTC))
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
    if target == "-" and output_error(result_stream()) is not None:
        raise OutputError("--json -: standard output is closed.", hint="Give the name of a file.")
    if target is None or target == "-":
        return
    path = Path(target)
    if path.exists() or path.is_symlink():
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
    """Call `measure`. If it fails after it measured something, return its partial result and the error. Interrupts that
    arrive later let the result be written."""
    try:
        return measure(*args, **kwargs), None
    except ProbeError as error:
        if error.result is None:
            raise
        return error.result, error
    finally:
        hold_interrupts()


def exit_code(result: Any, error: ProbeError | None) -> int:
    """Return the exit code of a finished or interrupted run, or raise the error that ended it."""
    if error is not None:
        raise error
    return interrupted_exit_code() if result.stopped_by == "interrupted" else 0


PROBE_FOLDER = Path(__file__).parents[1]


@contextmanager
def task_errors(title: str) -> Iterator[None]:
    """Translate exceptions raised while the task `title` is trained in this process. Bugs of probe are raised unchanged."""
    from probe.device.failures import find_failure, training_error
    from probe.errors import NothingFitsError

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
        raise training_error(title, error) from None


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
