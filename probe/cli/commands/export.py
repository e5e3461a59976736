"""`probe export`: convert a search to the format of another tool."""

from __future__ import annotations

import os
from pathlib import Path

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import run_argument
from probe.cli.terminal import echo
from probe.errors import UsageError


@click.command(
    cls=ProbeCommand,
    short_help="Convert a search to an Optuna study, for its dashboard.",
    examples=(("probe export reports/digits --optuna sqlite:///x.db", "Then run: optuna-dashboard sqlite:///x.db"),),
)
@run_argument("Folder of a search, or its result.json.")
@click.option("--optuna", "storage", metavar="URL", help="Write a new study there, named after the folder RUN.")
def export(run: Path, storage: str | None) -> None:
    """Write the search in the folder RUN to the storage of another tool.

    RUN is not changed, and its search may still be running. For pandas, read the trials.csv in RUN.
    """
    from probe.cli.inputs import load_search, run_folder

    if storage is None:
        raise UsageError("No destination is given.", hint="Give one, like: --optuna sqlite:///x.db")
    result = load_search(run, hint="Only searches can be exported.")
    from probe.report.store import stored_data
    from probe.search.samplers.optuna_export import export_to_optuna

    name = Path(os.path.realpath(run_folder(run))).name
    with stored_data(run):
        number = export_to_optuna(result, storage=storage, study_name=name)
    echo(f"Wrote {number} trials to {storage} as the study {name}.")
