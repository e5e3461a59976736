"""`probe data`: download a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import argument, data_dir_option, quiet_option, with_options

if TYPE_CHECKING:
    from probe.data.download import FetchedData
    from probe.report.shared.summary import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """A data set and its folder."""

    title: ClassVar = None
    name: str | None = argument(required=False, help="Name of a data set.  [default: list them]")
    data_dir: Path = data_dir_option()
    quiet: bool = quiet_option()


@click.command(
    cls=ProbeCommand,
    short_help="Download and check a data set.",
    examples=(("probe data", "List the data sets"), ("probe data reuters", "Download 11,228 newswires")),
)
@with_options(options=DataOptions)
def data(options: DataOptions) -> None:
    """Download the data set NAME, check it and prepare it. A data set that exists is only checked.

    Without NAME, lists the data sets. Recipes download their data on their own.
    """
    from probe.cli.answers import print_lines

    if options.name is None:
        rows = _catalogue(options.data_dir)
    else:
        from probe.cli.live.progress import open_download
        from probe.data.download import fetch_data

        with open_download(quiet=options.quiet) as progress:
            fetched = fetch_data(options.name, options.data_dir, progress=progress)
        rows = fetched_rows(fetched)
    print_lines(rows)


def fetched_rows(fetched: FetchedData) -> list[Line]:
    """Return a data set as labelled lines."""
    from probe.report.shared.summary import labelled
    from probe.units import format_bytes

    state = "exists already, nothing was downloaded" if fetched.was_there else "downloaded"
    return [
        ("Data", f"{fetched.name}: {state}"),
        *labelled("Files", [str(path) for path in fetched.paths]),
        ("Size", format_bytes(fetched.num_bytes)),
        ("Contents", fetched.contents),
    ]


def _catalogue(data_dir: Path) -> list[Line]:
    """Return the data sets that can be downloaded as labelled lines."""
    from probe.data.download import find_files
    from probe.data.registry import NAMED

    rows: list[Line] = []
    for name, source in NAMED.items():
        if source.download is not None:
            state = "in" if find_files(source.download, data_dir) is not None else "not yet in"
            rows.append((name, f"{source.download.about}; {state} {data_dir / source.download.folder}"))
    return rows
