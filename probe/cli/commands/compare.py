"""`probe compare`: compare several searches."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import OutputOptions, argument, command_line, with_options
from probe.errors import OutputError, RecipeError, UsageError

if TYPE_CHECKING:
    from probe.search.compare.compare import NamedSearch


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsOptions:
    """The searches to compare."""

    title: ClassVar = "Runs"
    runs: tuple[Path, ...] = argument(nargs=-1, metavar="RUN RUN ..", type=Path, help="Folders of searches.")


@click.command(
    cls=ProbeCommand,
    short_help="Compare several searches in one table and one plot.",
    examples=(
        ("probe compare reports/digits-random-* reports/digits-bayes-*", "Average the runs of each recipe"),
        ("probe compare reports/a reports/b --out reports/a-against-b", "Write to a folder of your choice"),
    ),
)
@with_options(runs=RunsOptions, output=OutputOptions)
def compare(runs: RunsOptions, output: OutputOptions) -> None:
    """Compare the searches in the folders RUN by their best value for each number of epochs spent.

    Runs of one recipe with different seeds become one line with their spread. Interrupted searches count up to their end.
    Nothing is trained.
    """
    from datetime import UTC, datetime

    from probe.cli.output import open_output
    from probe.report.store import check_result, stored_data
    from probe.search.compare.compare import compare_searches

    _check_runs(runs.runs)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    searches = [_load(run) for run in runs.runs]
    with stored_data("One of the runs"):
        result = compare_searches(searches, argv=command_line(), started_at=started)
        check_result(result)
    with open_output("compare", output) as run, stored_data("One of the runs"):
        run.finish(result)


def _check_runs(runs: tuple[Path, ...]) -> None:
    from probe.cli.inputs import run_folder

    if len(runs) < 2:
        raise UsageError(
            f"A comparison needs at least two runs, not {len(runs)}.",
            hint="Give the folders of two or more searches: probe compare reports/a reports/b",
        )
    seen: set[Path] = set()
    for run in runs:
        folder = Path(os.path.realpath(run_folder(run)))
        if folder in seen:
            raise UsageError(f"{run} is given twice.", hint="Give each run once.")
        seen.add(folder)


def _load(run: Path) -> NamedSearch:
    """Load a search. Its curve is exact if the events in its search.sqlite can be read."""
    from probe.cli.inputs import load_search, run_folder
    from probe.search.compare.compare import NamedSearch, incumbents_of_trials
    from probe.search.records.search import DATABASE_FILE
    from probe.search.stored_result import stored_incumbents

    result = load_search(run, hint="Only searches can be compared.")
    database = run_folder(run) / DATABASE_FILE
    try:
        curve = stored_incumbents(database, result) if database.is_file() else None
    except (OutputError, RecipeError):  # a damaged database; result.json is enough for a comparison
        curve = None
    if curve is None:
        return NamedSearch(folder=str(run), result=result, curve=incumbents_of_trials(result), is_exact=False)
    return NamedSearch(folder=str(run), result=result, curve=curve)
