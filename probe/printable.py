"""Text from outside (recipes, results, the user's code, names of files) without characters that do more than show.

Terminals obey control characters, and formatting characters reorder or hide text, so each is written as its escape: `\\u001b`.
TOML, JSON and Python read such an escape as the character.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

_COLOR = re.compile("(?:\x1b\\[|\x9b)[0-9;:]*m")
_LINE_END = re.compile("\r\n?")
_UNSEEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad"  # control characters but the line feed; the soft hyphen
    "\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"  # direction, zero width
    "\ud800-\udfff\U000e0000-\U000e007f]"  # lone surrogates (bytes of a command line that are not text), tags
    "|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])"  # joiners, except within emoji and scripts
)
_UNSAFE_IN_QUOTES = re.compile(rf"{_UNSEEN.pattern}|[\n\\']")


def printable(text: str) -> str:
    """`text` in its lines, without colors, with tabs as spaces, and with an escape for each character that is not seen."""
    return escaped(_LINE_END.sub("\n", _COLOR.sub("", text)).expandtabs())


def one_line(text: str) -> str:
    """Like `printable`, with a space for each line break and each run of spaces."""
    return printable(" ".join(text.split()))


def escaped(text: str) -> str:
    """`text` with an escape for each character that is not seen, except line feeds: strings of TOML keep their values."""
    return _UNSEEN.sub(lambda found: _escape(found[0]), text)


def shell_line(words: Sequence[str]) -> str:
    """A command line that a shell reads as `words`. Words that are not printable need bash, ksh or zsh."""
    return " ".join(map(_shell_word, words))


def _escape(character: str) -> str:
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"


def _shell_word(word: str) -> str:
    if "\n" not in word and printable(word) == word:
        return shlex.quote(word)
    return "$'" + _UNSAFE_IN_QUOTES.sub(lambda found: _as_bytes(found[0]), word) + "'"


def _as_bytes(character: str) -> str:
    """Escapes that do not depend on the shell's locale; a byte of a command line that is not text is that byte."""
    is_byte = "\udc80" <= character <= "\udcff"
    return "".join(
        f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")
    )
