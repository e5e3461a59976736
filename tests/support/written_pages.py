"""Check a written report: its links, its plots, its size."""

from __future__ import annotations

import re
from pathlib import Path

from foreign_texts import unseen

from probe.report.kinds import Result
from probe.report.store import write_report

MAX_PLOT_BYTES = 80_000


def written(result: Result, folder: Path) -> str:
    return write_report(result, folder).read_text(encoding="utf-8")


def check_page(text: str, folder: Path) -> None:
    """Every picture of the page is there and small, every row of a table has as many cells as its header, and no character
    does more than show."""
    assert unseen(text.replace("\n", "")) == set()
    for file in re.findall(r"^!\[.*\]\((.*)\)$", text, flags=re.MULTILINE):
        assert (folder / file).stat().st_size < MAX_PLOT_BYTES
        assert (folder / file).read_bytes().startswith(b"\x89PNG")
    for block in re.findall(r"(?:^\|.*\|$\n?)+", re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.M | re.S), flags=re.M):
        counts = {len(re.findall(r"\|", re.sub(r"\\.", "", line))) for line in block.splitlines()}
        assert len(counts) == 1, block
