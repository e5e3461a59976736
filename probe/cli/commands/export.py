"""`probe export`: a search in another tool's format."""

from __future__ import annotations

from pathlib import Path

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import debug_option
from probe.errors import UsageError


@click.command(
    cls=ProbeCommand,
    short_help="A search as an Optuna study, for its dashboard.",
    examples=(("probe export reports/digits --optuna sqlite:///x.db", "a new study in x.db"),),
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--optuna", "storage", metavar="URL", help="Write a new study there, named after the run's folder.")
@debug_option
def export(run: Path, storage: str | None) -> None:
    """Write the search in the folder RUN for another tool. RUN stays as it is; it may still be running. Optuna's dashboard
    then shows it: optuna-dashboard URL"""
    from probe.cli.runs import load_run

    if storage is None:
        raise UsageError(
            "Export to where?", hint="Like: --optuna sqlite:///x.db. For pandas, read the run's trials.csv."
        )
    result = load_run(run)
    if result.kind != "search":
        raise UsageError(f"{run} is no search but a result of kind {result.kind}.", hint="Only searches have trials.")
    from probe.search.samplers.optuna_export import export_to_optuna

    folder = run if run.is_dir() else run.parent
    name = folder.resolve().name
    number = export_to_optuna(result, storage=storage, study_name=name)
    click.echo(f"{number} trials written to {storage} as the study {name}.")
