from __future__ import annotations

import gzip
import json
import os
import re
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reuters_sgml import HEAD, newswire_sgml, norm_text, write_archive

from probe.data import reuters
from probe.data.json_lines import LabelledText, read_labelled_texts
from probe.data.reuters import (
    ARCHIVE,
    NUM_SGML_FILES,
    NUM_TOPICS,
    PREPARED,
    TOPIC_COUNTS,
    ensure_reuters,
    most_frequent,
    parse_sgml,
    read_archive,
    read_prepared,
    write_lines,
)
from probe.errors import DataError

SMALL_COUNTS = {"earn": 22, "acq": 44}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The collection as `write_small` makes it: two topics that count, and a rarer third."""
    monkeypatch.setattr(reuters, "TOPIC_COUNTS", SMALL_COUNTS)
    monkeypatch.setattr(reuters, "NUM_TOPICS", 2)


def write_small(path: Path, *, num_files: int = NUM_SGML_FILES) -> Path:
    files = []
    for number in range(num_files):
        newswires = [
            newswire_sgml(["acq"], norm_text(f"DEAL {number}", "They agreed.")),
            newswire_sgml(["earn", "acq"], norm_text(f"PROFIT {number}", "It rose.")),
            newswire_sgml([], norm_text("NO TOPIC", "Nobody said what this is about.")),
            newswire_sgml(["acq"], norm_text(f"MERGER {number}", "They went on.")),
        ]
        rare = [newswire_sgml(["tung-oil"], norm_text("OIL", "It ran."))] if number == 3 else []
        files.append(HEAD + "".join(newswires + rare))
    return write_archive(path, files)


def test_a_newswire_is_its_title_and_body_under_its_first_topic() -> None:
    body = "Showers continued\nthroughout   the week &lt;in>\n    the zone &amp; elsewhere."
    content = HEAD + newswire_sgml(["cocoa", "coffee"], norm_text("BAHIA COCOA REVIEW", body))
    expected = "BAHIA COCOA REVIEW. Showers continued throughout the week <in> the zone & elsewhere. Reuter \x03"
    assert list(parse_sgml(content)) == [LabelledText(text=expected, label="cocoa")]


def test_newswires_without_a_topic_are_left_out_whatever_their_places() -> None:
    content = HEAD + newswire_sgml([], norm_text("A", "b")) + newswire_sgml(["gold"], norm_text("C", "d"))
    assert [newswire.label for newswire in parse_sgml(content)] == ["gold"]


def test_brief_newswires_have_a_title_only_and_unprocessed_ones_a_full_stop() -> None:
    brief = newswire_sgml(["gold"], "******<TITLE>GOLD UP\n</TITLE>Blah blah blah.\n&#3;\n", kind="BRIEF")
    unprocessed = newswire_sgml(["gold"], "\n  weekly table\n  1 2 3\n", kind="UNPROC")
    assert [newswire.text for newswire in parse_sgml(HEAD + brief + unprocessed)] == ["GOLD UP .", "."]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=60))
def test_any_text_comes_out_of_sgml_as_it_went_in_but_for_white_space(text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    content = newswire_sgml(["earn"], f"<TITLE>T</TITLE><BODY>{escaped}</BODY>")
    [newswire] = parse_sgml(content)
    assert newswire.text == " ".join(["T.", *text.split()])


def test_the_most_frequent_topics_keep_their_newswires_in_order() -> None:
    newswires = [LabelledText(text=str(number), label=label) for number, label in enumerate("abcabcbd")]
    assert "".join(newswire.label for newswire in most_frequent(newswires, 2)) == "ababb"
    assert len(most_frequent(newswires, 9)) == 8


@pytest.mark.usefixtures("small")
def test_an_archive_becomes_one_json_line_a_newswire(tmp_path: Path) -> None:
    write_small(tmp_path / "reuters" / ARCHIVE)
    told: list[tuple[str, int, int | None]] = []
    path = ensure_reuters(tmp_path, progress=lambda *step: told.append(step))
    assert path == tmp_path / "reuters" / PREPARED
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert len(lines) == 66
    assert json.loads(lines[1]) == {"text": "PROFIT 0. It rose. Reuter \x03", "label": "earn"}
    assert lines[1].isascii()
    texts = read_prepared(path)
    assert [text.text.split(".")[0] for text in texts[:4]] == ["DEAL 0", "PROFIT 0", "MERGER 0", "DEAL 1"]
    assert told[-1] == ("Reading files", 22, 22)
    first = path.read_bytes()
    path.unlink()
    assert ensure_reuters(tmp_path).read_bytes() == first, "equal newswires give equal bytes"


@pytest.mark.usefixtures("small")
def test_files_may_lie_in_a_folder_of_the_archive(tmp_path: Path) -> None:
    archive = write_archive(
        tmp_path / ARCHIVE,
        [newswire_sgml(["acq"], norm_text("A", "b")) * 2 + newswire_sgml(["earn"], "")] * 22,
        folder="x/",
    )
    assert len(read_archive(archive)) == 66


@pytest.mark.usefixtures("small")
def test_an_archive_of_fewer_files_is_named(tmp_path: Path) -> None:
    archive = write_small(tmp_path / ARCHIVE, num_files=21)
    with pytest.raises(
        DataError, match=r"has 21 files reut2-000\.sgm, .* not 22\.\nDelete it and run `probe data reuters`"
    ):
        read_archive(archive)


@pytest.mark.usefixtures("small")
def test_an_archive_of_other_newswires_is_named_with_its_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_small(tmp_path / ARCHIVE)
    monkeypatch.setattr(reuters, "TOPIC_COUNTS", {"earn": 23, "acq": 43})
    with pytest.raises(
        DataError, match=r"has \d\d newswires of topic (earn|acq), not \d\d, and its SHA-256 is [0-9a-f]{64}"
    ):
        read_archive(archive)
    monkeypatch.setattr(reuters, "TOPIC_COUNTS", {"earn": 23, "acq": 44})
    with pytest.raises(DataError, match=r"has 66 newswires of 2 topics, not 67 of 2"):
        read_archive(archive)


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    archive = write_small(tmp_path / ARCHIVE)
    archive.write_bytes(archive.read_bytes()[:-300])
    with pytest.raises(DataError, match=rf"^{re.escape(str(archive))} is damaged or incomplete"):
        read_archive(archive)
    archive.write_bytes(b"<html>404 Not Found</html>")
    with pytest.raises(DataError, match="is damaged or incomplete"):
        read_archive(archive)


def test_without_a_network_the_address_and_the_place_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(DataError) as caught:
        ensure_reuters(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{ARCHIVE} could not be downloaded: no network in tests (kdd.ics.uci.edu, ")
    assert f"Download {reuters.URLS[0]} or " in said
    assert said.endswith(f" elsewhere and save it as {tmp_path / 'reuters' / ARCHIVE}")
    assert list((tmp_path / "reuters").iterdir()) == []


def test_a_prepared_file_of_other_texts_is_refused(tmp_path: Path) -> None:
    texts = [LabelledText(text="a", label=label) for label in ("earn", "acq") * 3]
    write_lines(texts, tmp_path / PREPARED)
    assert read_labelled_texts(tmp_path / PREPARED) == texts
    with pytest.raises(DataError, match=r"has 6 newswires of 2 topics, not 11,228 of 46"):
        read_prepared(tmp_path / PREPARED)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be written: .*\nChoose another folder"):
        write_lines([], tmp_path / "missing" / PREPARED)


def test_the_counts_are_those_of_the_set_that_keras_distributes() -> None:
    assert (sum(TOPIC_COUNTS.values()), len(TOPIC_COUNTS)) == (11_228, NUM_TOPICS)
    assert list(TOPIC_COUNTS.values()) == sorted(TOPIC_COUNTS.values(), reverse=True)


@pytest.mark.skipif(
    not (Path(os.environ.get("PROBE_DATA", "")) / "reuters" / PREPARED).is_file() or "PROBE_DATA" not in os.environ,
    reason="needs the real Reuters in $PROBE_DATA",
)
def test_the_real_reuters() -> None:
    path = ensure_reuters(Path(os.environ["PROBE_DATA"]))
    newswires = read_prepared(path)
    assert Counter(newswire.label for newswire in newswires) == TOPIC_COUNTS
    assert newswires[0].text.startswith("BAHIA COCOA REVIEW. Showers continued throughout the week")
    assert sum(newswire.text == "." for newswire in newswires) == 61
