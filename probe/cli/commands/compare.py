"""`probe compare`: several searches side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import command_line, debug_option, json_option, quiet_option
from probe.errors import OutputError, RecipeError, UsageError

if TYPE_CHECKING:
    from probe.search.compare.compare import NamedSearch


@click.command(
    cls=ProbeCommand,
    short_help="Several searches in one table and one picture.",
    examples=(
        ("probe compare reports/digits-random-* reports/digits-bayes-*", "runs of one recipe are averaged"),
        ("probe compare reports/a reports/b --out reports/a-against-b", "into a folder of your choice"),
    ),
)
@click.argument("runs", nargs=-1, metavar="RUN RUN ..", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The comparison's folder.  [default: reports/compare-<UTC time>]",
)
@json_option
@quiet_option
@debug_option
def compare(runs: tuple[Path, ...], out: Path | None, json_target: str | None, quiet: bool) -> None:
    """Compare the searches in the folders RUN by their best value against the epochs they spent; those that were stopped by
    what they have. Runs of one recipe with different seeds become one line, with their spread.

    Nothing is measured or trained.
    """
    from datetime import UTC, datetime

    from probe.cli.output import open_output
    from probe.search.compare.compare import compare_searches

    _check_runs(runs)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    result = compare_searches([_load(run) for run in runs], argv=command_line(), started_at=started)
    with open_output("compare", out=out, json_target=json_target, quiet=quiet) as output:
        output.finish(result)


def _check_runs(runs: tuple[Path, ...]) -> None:
    if len(runs) < 2:
        given = "only one" if runs else "none"
        raise UsageError(
            f"A comparison needs at least two runs, and there is {given}.",
            hint="Name the folders of two or more searches: probe compare reports/a reports/b",
        )
    seen: dict[Path, Path] = {}
    for run in runs:
        place = (run if run.is_dir() else run.parent).resolve()
        if place in seen:
            raise UsageError(f"{run} is named twice.", hint="Name each run once.")
        seen[place] = run


def _load(run: Path) -> NamedSearch:
    """The search in `run`, with its curve by the events of its file where that can be read."""
    from probe.cli.runs import SEARCH_FILE, load_run
    from probe.search.compare.compare import NamedSearch
    from probe.search.compare.incumbents import incumbents_of_trials
    from probe.search.compare.stored_incumbents import stored_incumbents

    result = load_run(run)
    if result.kind != "search":
        raise UsageError(f"{run} is no search but a result of kind {result.kind}.", hint="Only searches are compared.")
    folder = run if run.is_dir() else run.parent
    try:
        curve = stored_incumbents(folder / SEARCH_FILE, result) if (folder / SEARCH_FILE).is_file() else None
    except (OutputError, RecipeError):  # damaged: what result.json holds is still there
        curve = None
    if curve is None:
        return NamedSearch(folder=str(run), result=result, curve=incumbents_of_trials(result), is_exact=False)
    return NamedSearch(folder=str(run), result=result, curve=curve)
