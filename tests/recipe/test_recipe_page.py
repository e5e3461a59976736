"""recipes/README.md: every recipe is on it once, and nothing else; its links lead somewhere."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "recipes"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def listed() -> list[str]:
    return re.findall(r"^- \[([\w.-]+\.toml)\]\(\1\): \S", PAGE, flags=re.MULTILINE)


def test_every_recipe_is_named_once_and_every_name_is_a_recipe() -> None:
    assert Counter(listed()) == Counter(path.name for path in FOLDER.glob("*.toml"))


def test_every_recipe_has_one_line() -> None:
    lines = [line for line in PAGE.partition(BEGIN)[0].splitlines() if ".toml](" in line]
    assert len(lines) == len(listed())
    assert all(len(line) <= 128 for line in lines)


def test_the_tables_reports_are_there() -> None:
    table = PAGE.partition(BEGIN)[2].partition(END)[0]
    reports = re.findall(r"\]\((\.\./reports/examples/[^)]+)\)", table)
    assert [report for report in reports if not (FOLDER / report).is_file()] == []
