"""`probe report`: draw the report of a run again."""

from __future__ import annotations

import os
from pathlib import Path

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import run_argument
from probe.errors import OutputError


@click.command(
    cls=ProbeCommand,
    short_help="Draw the report of a run again.",
    examples=(
        ("probe report reports/digits-20260101T120000Z", "Write report.md, plots and tables from result.json"),
        ("probe report /mnt/archive/digits --out digits", "Write them elsewhere if the run cannot be written"),
    ),
)
@run_argument()
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path), help="New folder for the report.  [default: RUN]"
)
@click.option("--quiet", is_flag=True, help="Print only where the report is.")
def report(run: Path, out: Path | None, quiet: bool) -> None:
    """Draw the report of RUN again. Its result.json is not changed.

    For a search that was killed, or whose result.json is damaged, the report shows the trials in its search.sqlite. Nothing is
    trained.
    """
    from probe.cli.answers import answer_lines, print_lines
    from probe.cli.inputs import load_run, run_folder
    from probe.cli.output import note_unprinted
    from probe.report.store import draw_report, prepare_folder, stored_data

    result = load_run(run)
    folder = run_folder(run) if out is None else prepare_folder(out)
    try:
        with stored_data(run):
            lines = [] if quiet else answer_lines(result)
            path = draw_report(result, folder)
    except OutputError as error:
        if out is None and not os.access(folder, os.W_OK):
            hint = "Write the report to another folder with --out DIR."
            raise OutputError(error.message, hint=hint) from error
        raise
    print_lines([*lines, ("Report", str(path))])
    note_unprinted(path.parent)
