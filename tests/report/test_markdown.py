from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.report.shared.markdown import code, code_cell, command, escape, fenced, table
from probe.report.shared.wording import shorten

CELL = r"(?:\\.|[^|\\\n])*"  # how GitHub reads a cell: an escaped character, or anything but a bar


@given(st.text(alphabet=r"ab|\`*_ <" + "\n\r\t"), st.text(alphabet=r"a|\` "))
def test_no_text_breaks_a_row_of_a_table(text: str, name: str) -> None:
    row = table(["a", "b"], [[escape(text), code_cell(name)]]).splitlines()[-1]
    assert len(table(["a", "b"], [[escape(text), "x"]]).splitlines()) == 3
    assert re.fullmatch(rf"\| {CELL} \| .* \|", row)
    assert len(re.findall(r"(?<!\\)\|", re.sub(r"\\\\", "", table(["a"], [[escape(text)]]).splitlines()[-1]))) == 2


def test_escape_shows_markup_as_text() -> None:
    assert escape("a|b *c*\n`d` <e> & f") == r"a\|b \*c\* \`d\` &lt;e&gt; &amp; f"


@given(st.text(alphabet="`a\n"))
def test_backticks_cannot_end_a_fence(text: str) -> None:
    lines = fenced(text, "toml").splitlines()
    assert lines[-1] not in lines[1:-1]
    assert lines[0] == f"{lines[-1]}toml"


def test_inline_code_may_hold_backticks() -> None:
    assert code("a") == "`a`"
    assert code("a`b") == "`` a`b ``"
    assert code_cell("a|b") == r"`a\|b`"


@given(st.text(), st.integers(min_value=2, max_value=40))
def test_shorten_keeps_to_its_length(text: str, most: int) -> None:
    assert len(shorten(text, most)) <= most


@pytest.mark.parametrize(
    ("argv", "typed"),
    [
        ((), None),
        (("/home/me/.venv/bin/probe", "lr", "--from", "1e-5"), "probe lr --from 1e-5"),
        ((r"C:\venv\probe.exe", "devices"), "probe devices"),
        (("/lib/probe/__main__.py", "lr", "my recipe.toml"), "probe lr 'my recipe.toml'"),
        (("search", "recipes/digits.toml"), "probe search recipes/digits.toml"),
        (("/home/me/train.py", "--fast"), "train.py --fast"),
    ],
)
def test_command(argv: tuple[str, ...], typed: str | None) -> None:
    assert command(argv) == typed
