"""Pieces of Markdown as GitHub renders it. Every text of foreign origin passes through here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&#$])")


def escape(text: str) -> str:
    """`text` on one line, shown as it is: nothing in it is markup, and a cell of a table cannot end early."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """`text` as inline code on one line, also inside a table."""
    line = " ".join(text.split())
    if not line:
        return ""
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    padding = " " if longest else ""
    return f"{fence}{padding}{line}{padding}{fence}"


def code_cell(text: str) -> str:
    """Inline code for a cell: GitHub splits a table's row at every bare bar, even inside code.

    A backslash before a bar cannot be told from the bar's own escape in code, so that such text is plain.
    """
    return escape(text) if r"\|" in text else code(text).replace("|", r"\|")


def fenced(text: str, language: str = "") -> str:
    """A block of code, fenced so that backticks in `text` cannot end it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """A table of cells that are Markdown already; the columns numbered in `right` are set flush right."""
    rules = ["---:" if column in right else "---" for column in range(len(header))]
    lines = [header, rules, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def image(file: str, caption: str) -> str:
    """A picture whose caption is its alternative text."""
    return f"![{escape(caption)}]({file})"


def bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def page(blocks: Sequence[str | None]) -> str:
    """Blocks of Markdown, the missing ones left out, as one text."""
    return "\n\n".join(block for block in blocks if block) + "\n"


def shorten(text: str, most: int = 160) -> str:
    """`text` on one line, cut at a word and marked with an ellipsis where it is longer than `most` characters."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    return f"{line[: most - 1].rsplit(' ', 1)[0][: most - 1]}…"


def command(argv: Sequence[str]) -> str | None:
    """The command line as it can be typed again, without the path of the program; None where there was none."""
    if not argv:
        return None
    program = re.split(r"[\\/]", argv[0])[-1]
    is_ours = program in ("probe", "probe.exe", "__main__.py")
    if program in ("batch", "lr", "search"):
        return shlex.join(["probe", *argv])
    return shlex.join(["probe" if is_ours else program, *argv[1:]])


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."
