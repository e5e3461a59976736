"""`probe report`: draw the report of a run again."""

from __future__ import annotations

from pathlib import Path

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import run_argument


@click.command(
    cls=ProbeCommand,
    short_help="Draw the report of a run again.",
    examples=(("probe report reports/digits-20260101T120000Z", "Write report.md, plots and tables from result.json"),),
)
@run_argument()
@click.option("--quiet", is_flag=True, help="Print only where the report is.")
def report(run: Path, quiet: bool) -> None:
    """Draw the report of RUN again. Its result.json is not changed.

    For a search that was killed, the report shows the trials in its search.sqlite. Nothing is trained.
    """
    from probe.cli.answers import answer_lines, print_lines
    from probe.cli.inputs import load_run, run_folder
    from probe.cli.output import note_unprinted
    from probe.report.store import draw_report

    result = load_run(run)
    path = draw_report(result, run_folder(run))
    print_lines([*([] if quiet else answer_lines(result)), ("Report", str(path))])
    note_unprinted(path.parent)
