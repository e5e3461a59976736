"""Where a run's words, JSON and report go. Everything is checked before anything is measured."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from probe.errors import OutputError

if TYPE_CHECKING:
    from probe.report.kinds import Result

INTERRUPTED = 130
"""The exit code that a shell expects of a command ended by Ctrl-C: 128 + SIGINT."""


_reserved: TextIO | None = None
"""What standard output was before `reserve_stdout`."""


def reserve_stdout(args: Sequence[str]) -> None:
    """With `--json -`, keep standard output for the result: what the task's code, its libraries and their processes print goes
    to standard error from here on, to the end of the process."""
    global _reserved
    if "--json=-" not in args and ("--json", "-") not in pairwise(args):
        return
    _reserved = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace")
    os.dup2(2, 1)


_start_folder = Path()
"""Where the command was typed."""


def note_start_folder() -> None:
    """What is typed as a relative path means this folder, wherever the task's module moves the process when it is imported."""
    global _start_folder
    with suppress(FileNotFoundError):  # it was removed; then there is nothing relative to it
        _start_folder = Path.cwd()


def result_stream() -> TextIO:
    """Where a result goes that is asked for on standard output."""
    return sys.stdout if _reserved is None else _reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What the common options ask for."""

    folder: Path
    """There and empty; absolute, as the task's code may change the current folder."""
    shown_folder: Path
    """The same as the user named it."""
    json_target: str | None
    """`-`, or the absolute path of a file."""
    quiet: bool

    def say(self, line: str) -> None:
        """A line of the answer: stdout, unless that is JSON's."""
        click.echo(line, err=self.json_target == "-")

    def note(self, line: str | None) -> None:
        """A line about what is going on, if there is one."""
        if line is not None and not self.quiet:
            click.echo(line, err=True)

    def finish(self, result: Result) -> None:
        """Print the answer, write the report. The answer comes first: a full disk must not swallow it."""
        from probe.cli.answers.answers import answer_lines
        from probe.cli.answers.layout import layout_lines
        from probe.cli.live.progress import waiting
        from probe.report.store import result_text, save_result

        for line in layout_lines(answer_lines(result)):
            self.say(line)
        if self.json_target == "-":
            click.echo(result_text(result), file=result_stream(), nl=False)
        elif self.json_target is not None:
            save_result(result, Path(self.json_target))
        with waiting("drawing the report", quiet=self.quiet):
            from probe.report.write import write_report

            path = write_report(result, self.folder)
        for line in layout_lines([("Report", str(self.shown_folder / path.name))]):
            self.say(line)


@contextmanager
def open_output(
    name: str, *, out: Path | None, json_target: str | None, quiet: bool, resume: bool = False
) -> Iterator[Output]:
    """The place for a run called `name`, with `resume` one that is there. A folder that nothing was written to is removed
    again.

    Raises OutputError where the folder or the JSON file exists or cannot be made.
    """
    from datetime import UTC, datetime

    from probe.cli.runs import run_to_resume
    from probe.report.folders import default_folder, prepare_folder

    with chdir(_start_folder):
        check_json_target(json_target)
        shown = run_to_resume(name, out) if resume else prepare_folder(out or default_folder(name, datetime.now(UTC)))
        folder = shown.absolute()
        target = json_target if json_target in (None, "-") else str(Path(json_target).absolute())
    try:
        yield Output(folder=folder, shown_folder=shown, json_target=target, quiet=quiet)
    finally:
        with suppress(OSError):  # not empty: there is a report in it
            folder.rmdir()


def check_json_target(target: str | None) -> None:
    """Raise OutputError unless `--json` names stdout or a file that can be made."""
    if target is None or target == "-":
        return
    path = Path(target)
    if path.exists():
        raise OutputError(f"--json: {path} exists already.", hint="Name a new file; results are never written over.")
    if not path.parent.is_dir():
        raise OutputError(f"--json: there is no folder {path.parent}.", hint=f"Make it first: mkdir -p {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"--json: {path.parent} cannot be written to.", hint="Name a file somewhere else.")
