"""All text that commands print: without characters that a terminal would obey."""

from __future__ import annotations

import click

from probe.printable import printable


def echo(text: str, *, err: bool = False, head: str = "") -> None:
    """Print lines of text to stdout or stderr; `head` comes before it and may have colors."""
    click.echo(f"{head}{printable(text)}", err=err)
