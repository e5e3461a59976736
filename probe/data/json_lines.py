"""Labelled texts from a file of JSON lines. Errors name the file and the line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probe.errors import DataError
from probe.files import open_file, reason

_EXAMPLE = 'Each line is one JSON object, like {"text": "Shares fell sharply.", "label": "markets"}'
_KEYS = ("text", "label")
MIN_TEXTS = 3
"""Smallest number of texts per class: one for each split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledText:
    text: str
    label: str


def read_labelled_texts(path: Path) -> list[LabelledText]:
    """Read all lines in order: JSON objects with `text` and `label` (a string, integer or boolean). Other keys and empty lines
    are ignored. The file is UTF-8, compressed by gzip if its name ends in .gz. Raises DataError for wrong contents, and if a
    label has fewer than MIN_TEXTS texts."""
    texts: list[LabelledText] = []
    lines_of: dict[str, list[int]] = {}
    for number, line in _lines(path):
        found = _parse(line, path, number)
        texts.append(found)
        lines_of.setdefault(found.label, []).append(number)
    if not texts:
        raise DataError(f"{path} has no texts.", hint=_EXAMPLE)
    if len(lines_of) == 1:
        raise DataError(f"{path}: all texts have the label '{texts[0].label}', but at least two classes are needed.")
    for label, lines in lines_of.items():
        if len(lines) < MIN_TEXTS:
            where = f"line {lines[0]}" if len(lines) == 1 else f"lines {' and '.join(map(str, lines))}"
            raise DataError(
                f"{path}, {where}: the label '{label}' has only {len(lines)} of the {MIN_TEXTS} texts needed for the training, "
                "validation and test splits.",
                hint="Add texts with that label, or remove it.",
            )
    return texts


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, line) for each line that is not empty."""
    number = 0
    try:
        with open_file(path) as raw:
            file = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            for number, line in enumerate(file, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if text:
                    yield number, text
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: not UTF-8 ({error.reason}).", hint="Save it as UTF-8.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged or incomplete after line {number}: {error}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}.") from None


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
            has = ", ".join(map(str, found)) or "(none)"
            raise DataError(f"{where}: the key '{key}' is missing; the keys are: {has}.", hint=_EXAMPLE)
    text, label = found["text"], found["label"]
    if not isinstance(text, str):
        raise DataError(f"{where}: 'text' is {_kind(text)}, not a string.", hint=_EXAMPLE)
    if not text.strip():
        raise DataError(f"{where}: 'text' is empty.", hint="Remove the line, or add a text.")
    if isinstance(label, float) or not isinstance(label, (str, int)) or label == "":
        raise DataError(
            f"{where}: 'label' is {'empty' if label == '' else _kind(label)}; it must be a string or an integer.",
            hint=_EXAMPLE,
        )
    return LabelledText(text=text, label=json.dumps(label) if isinstance(label, bool) else str(label))


def _kind(value: object) -> str:
    """The type of a JSON value, in words."""
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")
