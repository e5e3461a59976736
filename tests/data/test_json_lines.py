from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from probe.data.json_lines import LabelledText, read_labelled_texts
from probe.errors import DataError

GOOD: list[dict[str, object]] = [{"text": f"text {number}", "label": "ab"[number % 2]} for number in range(6)]


def write(path: Path, lines: Sequence[str | Mapping[str, object]]) -> Path:
    content = "".join(line if isinstance(line, str) else f"{json.dumps(line)}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["texts.jsonl", "texts.jsonl.gz"])
def test_lines_are_read_in_order_packed_or_not(tmp_path: Path, name: str) -> None:
    texts = read_labelled_texts(write(tmp_path / name, GOOD))
    assert texts == [LabelledText(text=str(line["text"]), label=str(line["label"])) for line in GOOD]


def test_other_keys_empty_lines_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", ["\ufeff", *[line | {"id": 7} for line in GOOD], "\n", "  \n"])
    assert len(read_labelled_texts(path)) == 6


def test_labels_may_be_numbers_and_truth_values(tmp_path: Path) -> None:
    lines = [{"text": "x", "label": label} for label in (1, True, False) for _ in range(3)]
    texts = read_labelled_texts(write(tmp_path / "t.jsonl", lines))
    assert [text.label for text in texts[::3]] == ["1", "true", "false"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{'text': 'a'}\n", r"line 7: not JSON \(.*\)\.\nEach line is one JSON object, like"),
        ("text,label\n", r"line 7: not JSON"),
        ('["a", "b"]\n', r"line 7: not a JSON object, but a list\."),
        ("null\n", r"line 7: not a JSON object, but null\."),
        ({"label": "a"}, r"line 7: the key 'text' is missing; .*: label\."),
        ({"text": "x", "Label": "a"}, r"line 7: the key 'label' is missing; .*: text, Label\."),
        ({}, r"line 7: the key 'text' is missing"),
        ({"text": "", "label": "a"}, r"line 7: 'text' is empty\."),
        ({"text": " \t", "label": "a"}, r"line 7: 'text' is empty\."),
        ({"text": 5, "label": "a"}, r"line 7: 'text' is a number, not a string"),
        ({"text": None, "label": "a"}, r"line 7: 'text' is null, not a string"),
        ({"text": "x", "label": None}, r"line 7: 'label' is null; it must be a string or an integer"),
        ({"text": "x", "label": ""}, r"line 7: 'label' is empty; it must be"),
        ({"text": "x", "label": 0.5}, r"line 7: 'label' is a number; it must be a string or an integer"),
        ({"text": "x", "label": ["a", "b"]}, r"line 7: 'label' is a list; it must be"),
        ({"text": "x", "label": "c"}, r", line 7: the label 'c' has only 1 of the 3 texts"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path, line: str | dict[str, object], said: str) -> None:
    path = write(tmp_path / "texts.jsonl", [*GOOD, line])
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}.*{said}"):
        read_labelled_texts(path)


def test_a_class_of_two_is_named_with_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [*GOOD, {"text": "x", "label": "c"}, "\n", {"text": "y", "label": "c"}])
    with pytest.raises(DataError, match=r"lines 7 and 9: the label 'c' has only 2 of the 3 texts"):
        read_labelled_texts(path)


def test_one_class_only(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"text": "x", "label": "a"}] * 4)
    with pytest.raises(DataError, match=r"all texts have the label 'a'"):
        read_labelled_texts(path)


def test_a_file_without_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.jsonl has no texts\.\nEach line is"):
        read_labelled_texts(write(tmp_path / "t.jsonl", ["\n"]))


def test_a_missing_file_a_folder_and_damage(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl cannot be read: No such file"):
        read_labelled_texts(tmp_path / "gone.jsonl")
    with pytest.raises(DataError, match=r"cannot be read: Is a directory"):
        read_labelled_texts(tmp_path)
    packed = write(tmp_path / "t.jsonl.gz", GOOD)
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"t\.jsonl\.gz is damaged or incomplete after line \d"):
        read_labelled_texts(packed)
    packed.write_bytes(b"text,label\n")
    with pytest.raises(DataError, match=r"is damaged or incomplete after line 0: Not a gzipped file"):
        read_labelled_texts(packed)
    other = tmp_path / "latin.jsonl"
    other.write_bytes(json.dumps(GOOD[0]).encode() + b'\n{"text": "caf\xe9", "label": "a"}\n')
    with pytest.raises(DataError, match=r"latin\.jsonl, line 2: not UTF-8 .*\nSave it as UTF-8"):
        read_labelled_texts(other)
