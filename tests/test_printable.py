from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
import unicodedata

import pytest
from foreign_texts import READABLE_TEXTS, TERMINAL_TEXTS, unseen
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.printable import one_line, printable, shell_line


@given(st.text() | st.sampled_from(sorted(TERMINAL_TEXTS.values())))
def test_no_character_is_left_that_a_terminal_obeys(text: str) -> None:
    shown = printable(text)
    assert unseen(shown.replace("\n", "")) == set()
    assert printable(shown) == shown
    assert unseen(one_line(text)) == set()
    assert one_line(text) == " ".join(one_line(text).split())


@pytest.mark.parametrize("text", READABLE_TEXTS)
def test_what_people_write_is_shown_as_it_is(text: str) -> None:
    assert printable(text) == one_line(text) == text


def test_every_control_and_format_character_is_escaped() -> None:
    """Except the line feed, the joiners, and format characters that are drawn, like the Arabic number sign."""
    drawn = {"Cf": re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001d17a]")}
    for code in range(0x110000):
        character = chr(code)
        kind = unicodedata.category(character)
        if kind in ("Cc", "Cs", "Zl", "Zp", "Cf") and not re.match("[\n\r\t\u200c\u200d]", character):
            is_drawn = kind in drawn and drawn[kind].match(character)
            assert printable(character) == (character if is_drawn else _escape(code)), hex(code)


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def test_escapes_are_those_of_toml_and_json() -> None:
    hidden = "\x1b\x7f\x9b\u202e\ufeff\x00\x07"
    assert tomllib.loads(f'x = "{printable(hidden)}"')["x"] == hidden
    assert json.loads(f'"{printable(hidden)}"') == hidden
    assert tomllib.loads(f'x = "{printable(chr(0xE0061))}"')["x"] == "\U000e0061"


def test_lines_colors_and_tabs_of_a_traceback() -> None:
    assert printable("\x1b[1;31mError\x1b[0m:\r\n\tx\r50 %") == "Error:\n        x\n50 %"
    assert one_line(" a\r\n\tb\u2028c\x85") == "a b c"


def test_joiners_stay_in_emoji_and_scripts_only() -> None:
    assert printable("👩‍👩‍👧") == "👩‍👩‍👧"
    assert printable("l\u200dr") == "l\\u200dr"


_IN_WORDS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@settings(max_examples=30, deadline=None)
@given(
    st.lists(_IN_WORDS | st.sampled_from([one for one in TERMINAL_TEXTS.values() if "\x00" not in one]), max_size=20)
)
def test_a_shell_reads_the_words_of_a_command_line(words: list[str]) -> None:
    words = [word.replace("\ud800", "") for word in words]  # no byte of a command line becomes this one
    line = shell_line(words)
    assert unseen(line) == set()
    script = f"set -- {line}; [ $# = 0 ] || printf '%s\\0' \"$@\""
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, env={"LC_ALL": "C"})
    assert done.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in words]
