"""Texts and their classes from a file of JSON lines, every mistake named by file and line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probe.errors import DataError

_EXAMPLE = 'Each line is one JSON object, like {"text": "Shares fell sharply.", "label": "markets"}'
_KEYS = ("text", "label")
MIN_TEXTS = 3
"""Of each class: one to train on, one to validate and one to test with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledText:
    text: str
    label: str


def read_labelled_texts(path: Path) -> list[LabelledText]:
    """The file's lines in their order: JSON objects with `text` and `label`; other keys are ignored, as are empty lines.

    The file is UTF-8, or packed by gzip where its name ends in .gz. Labels are text, whole numbers, true or false.

    Raises:
        DataError: the file cannot be read, a line is not such an object, a text is empty, there is no line, all lines have one
            label, or a label stands on fewer than MIN_TEXTS of them.
    """
    texts: list[LabelledText] = []
    lines_of: dict[str, list[int]] = {}
    for number, line in _lines(path):
        found = _parse(line, path, number)
        texts.append(found)
        lines_of.setdefault(found.label, []).append(number)
    if not texts:
        raise DataError(f"{path} holds no text.", hint=_EXAMPLE)
    if len(lines_of) == 1:
        raise DataError(
            f"{path}: every text has the label '{texts[0].label}'; a classifier needs two classes at least."
        )
    for label, lines in lines_of.items():
        if len(lines) < MIN_TEXTS:
            where = f"line {lines[0]}" if len(lines) == 1 else f"lines {' and '.join(map(str, lines))}"
            raise DataError(
                f"{path}, {where}: '{label}' is the label of no other line; {MIN_TEXTS} are needed, for training, validation "
                "and test.",
                hint="Add texts with that label, or leave it out.",
            )
    return texts


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of each line that is not empty."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if text:
                    yield number, text
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: not UTF-8 ({error.reason}).", hint="Save it as UTF-8.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged or half-downloaded after line {number}: {error}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def _parse(line: str, path: Path, number: int) -> LabelledText:
    where = f"{path}, line {number}"
    try:
        found = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error}).", hint=_EXAMPLE) from None
    if not isinstance(found, dict):
        raise DataError(f"{where}: not a JSON object, but {_kind(found)}.", hint=_EXAMPLE)
    for key in _KEYS:
        if key not in found:
            has = ", ".join(map(str, found)) or "none"
            raise DataError(f"{where}: there is no '{key}'; its keys: {has}.", hint=_EXAMPLE)
    text, label = found["text"], found["label"]
    if not isinstance(text, str):
        raise DataError(f"{where}: 'text' is {_kind(text)}, not text.", hint=_EXAMPLE)
    if not text.strip():
        raise DataError(f"{where}: 'text' is empty.", hint="Leave the line out, or give it a text.")
    if isinstance(label, float) or not isinstance(label, (str, int)) or label == "":
        raise DataError(
            f"{where}: 'label' is {'empty' if label == '' else _kind(label)}; it must be text or a whole number.",
            hint=_EXAMPLE,
        )
    return LabelledText(text=text, label=json.dumps(label) if isinstance(label, bool) else str(label))


def _kind(value: object) -> str:
    """What a JSON value is, in words."""
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")
