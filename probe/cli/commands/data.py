"""`probe data`: fetch and prepare a named data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import data_dir_option, debug_option, quiet_option

if TYPE_CHECKING:
    from probe.data.fetch import FetchedData
    from probe.report.shared.summary import Line


@click.command(
    cls=ProbeCommand,
    short_help="Fetch and prepare a data set.",
    examples=(("probe data reuters", "11,228 newswires; without a name: what there is"),),
)
@click.argument("name", required=False)
@data_dir_option
@quiet_option
@debug_option
def data(name: str | None, data_dir: Path, quiet: bool) -> None:
    """Download the data set NAME into the data folder, check it and prepare it; one that is there is only checked. Without
    NAME, print which there are. Recipes fetch what they need by themselves.
    """
    from probe.cli.answers.layout import layout_lines

    if name is None:
        rows = _catalogue(data_dir)
    else:
        from probe.cli.live.download import open_download
        from probe.data.fetch import fetch_data

        with open_download(quiet=quiet) as progress:
            fetched = fetch_data(name, data_dir, progress=progress)
        rows = fetched_rows(fetched)
    for line in layout_lines(rows):
        click.echo(line)


def fetched_rows(fetched: FetchedData) -> list[Line]:
    from probe.report.shared.summary import labelled
    from probe.units import format_bytes

    state = "already there, nothing was downloaded" if fetched.was_there else "fetched"
    return [
        ("Data", f"{fetched.name}: {state}"),
        *labelled("Files", [str(path) for path in fetched.paths]),
        ("Size", format_bytes(fetched.num_bytes)),
        ("Holds", fetched.contents),
    ]


def _catalogue(data_dir: Path) -> list[Line]:
    from probe.data.fetch import fetchable_data, find_files

    rows: list[Line] = []
    for name, found in fetchable_data().items():
        state = "there" if find_files(found, data_dir) is not None else "not there"
        rows.append((name, f"{found.about}; {state}: {data_dir / found.folder}"))
    return rows
