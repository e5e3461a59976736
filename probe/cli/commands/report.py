"""`probe report`: draw a run's report again."""

from __future__ import annotations

from pathlib import Path

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import debug_option, quiet_option


@click.command(
    cls=ProbeCommand,
    short_help="Draw a run's report again from its result.json.",
    examples=(("probe report reports/digits-20260101T120000Z", "report.md, plots and tables, from the numbers alone"),),
)
@click.argument("run", type=click.Path(path_type=Path))
@quiet_option
@debug_option
def report(run: Path, quiet: bool) -> None:
    """Draw the report of RUN again: a run's folder, or the result.json in it, which stays as it is. Of a search that was
    killed, what its search.sqlite holds is drawn.

    Nothing is measured or trained.
    """
    from probe.cli.answers.answers import answer_lines
    from probe.cli.answers.layout import layout_lines
    from probe.cli.runs import load_run
    from probe.report.write import draw_report

    result = load_run(run)
    path = draw_report(result, run if run.is_dir() else run.parent)
    rows = [("Report", str(path))] if quiet else [*answer_lines(result), ("Report", str(path))]
    for line in layout_lines(rows):
        click.echo(line)
