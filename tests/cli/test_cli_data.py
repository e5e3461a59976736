"""`probe data` without a network: data sets that exist, data sets that do not, and the progress of a download."""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from probe.cli.live.progress import QuarterLines, open_download
from probe.cli.main import run
from probe.data import cifar10, reuters
from probe.data.json_lines import LabelledText

NEWSWIRES = [LabelledText(text=f"profit {number}", label="earn" if number % 3 else "acq") for number in range(9)]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(reuters, "TOPIC_COUNTS", {"earn": 6, "acq": 3})
    monkeypatch.setattr(reuters, "NUM_TOPICS", 2)


def test_an_existing_data_set_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "reuters" / reuters.PREPARED
    path.parent.mkdir()
    reuters.write_lines(NEWSWIRES, path)
    assert run(["data", "reuters", "--data-dir", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    lines = [line.split(maxsplit=1) for line in captured.out.splitlines()]
    assert lines == [
        ["Data", "reuters: exists already, nothing was downloaded"],
        ["Files", str(path)],
        ["Size", f"{path.stat().st_size} B"],
        ["Contents", "9 newswires of 2 topics"],
    ]
    assert captured.err == ""


def test_a_download_is_prepared_and_shows_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def download(urls: Any, path: Path, *, progress: Any) -> str:
        progress("Downloading archive", 3, 4)
        path.write_text("packed")
        return ""

    (tmp_path / "reuters").mkdir()
    monkeypatch.setattr(reuters, "download", download)
    monkeypatch.setattr(reuters, "read_archive", lambda archive, progress: NEWSWIRES)
    assert run(["data", "reuters", "--data-dir", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].split(maxsplit=1) == ["Data", "reuters: downloaded"]
    assert captured.err == "Downloading archive: 75 %\n"
    assert run(["data", "reuters", "--data-dir", str(tmp_path), "--quiet"]) == 0


def test_without_a_network_the_error_names_source_and_destination(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "reuters", "--data-dir", str(tmp_path)]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    error, hint = captured.err.splitlines()
    assert "reuters21578.tar.gz" in error
    assert "no network in tests" in error
    assert reuters.URLS[0] in hint
    assert str(tmp_path / "reuters" / reuters.ARCHIVE) in hint


def test_existing_images_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cifar10, "IMAGES_PER_FILE", 10)
    (tmp_path / cifar10.FOLDER).mkdir()
    for file in cifar10.FILES:
        (tmp_path / cifar10.FOLDER / file).write_bytes(b"\3" * 10 * 3073)
    assert run(["data", "cifar10", "--data-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("cifar10: exists already, nothing was downloaded")
    assert {"50", "10", "32"} <= set(lines[-1].split())
    (tmp_path / cifar10.FOLDER / cifar10.FILES[2]).write_bytes(b"\3" * 5)
    assert run(["data", "cifar10", "--data-dir", str(tmp_path)]) == 3
    assert "data_batch_3.bin" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "similar"), [("reuter", "reuters"), ("fashion", "fashion-mnist"), ("digits", "reuters")]
)
def test_an_unknown_name_names_similar_ones(name: str, similar: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", name]) == 3
    error, hint = capsys.readouterr().err.splitlines()
    assert f"'{name}'" in error
    assert similar in hint


def test_without_a_name_there_is_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "--data-dir", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert {"mnist", "fashion-mnist", "cifar10", "reuters"} == {
        line.split()[0] for line in listed.splitlines() if line[0] != " "
    }
    assert listed.count("not yet in") == 4


def test_progress_without_a_terminal_is_a_line_per_quarter(capsys: pytest.CaptureFixture[str]) -> None:
    update = QuarterLines()
    for done in range(0, 101, 5):
        update("Downloading", done, 100)
    update("Unknown length", 5, None)
    update("Unknown length", 9, None)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [*(f"Downloading: {part} %" for part in (0, 25, 50, 75, 100)), "Unknown length"]


def test_a_terminal_gets_a_bar_that_vanishes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("probe.cli.live.progress.wants_live", lambda stream, environ: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with open_download(quiet=False) as update:
        update("Downloading", 1, 4)
        update("Downloading", 4, 4)
        update("Unpacking", 1, None)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Downloading" in captured.err
