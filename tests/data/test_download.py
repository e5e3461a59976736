"""Downloads, from file:// addresses: no network."""

from __future__ import annotations

import hashlib
import re
import urllib.request
from pathlib import Path

import pytest

from probe.data import download as download_module
from probe.data.download import download, sha256
from probe.errors import DataError


def test_a_file_arrives_whole_with_its_checksum_and_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "_CHUNK_BYTES", 4)
    source = tmp_path / "source.bin"
    source.write_bytes(b"0123456789")
    told: list[tuple[str, int, int | None]] = []
    target = tmp_path / "data" / "target.bin"
    checksum = download([source.as_uri()], target, progress=lambda *step: told.append(step))
    assert checksum == hashlib.sha256(b"0123456789").hexdigest() == sha256(target)
    assert target.read_bytes() == b"0123456789"
    assert told == [("Downloading target.bin", done, 10) for done in (4, 8, 10)]
    assert [path.name for path in target.parent.iterdir()] == ["target.bin"]


def test_the_next_address_is_tried_where_one_fails(tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"here")
    download([(tmp_path / "gone.bin").as_uri(), source.as_uri()], tmp_path / "target.bin")
    assert (tmp_path / "target.bin").read_bytes() == b"here"


def test_a_download_that_fails_leaves_nothing_and_names_every_address(tmp_path: Path) -> None:
    gone = [(tmp_path / name).as_uri() for name in ("a.bin", "b.bin")]
    with pytest.raises(DataError) as caught:
        download(gone, tmp_path / "data" / "target.bin")
    assert caught.value.message.count("No such file or directory") == 1, "one reason for all of them"
    assert caught.value.hint == (
        f"Download {gone[0]} or {gone[1]} elsewhere and save it as {tmp_path / 'data' / 'target.bin'}"
    )
    assert list((tmp_path / "data").iterdir()) == []


class _CutShort:
    """An answer that promises ten bytes and gives four."""

    def __init__(self) -> None:
        self.headers = {"Content-Length": "10"}
        self._left = [b"0123", b""]

    def __enter__(self) -> _CutShort:
        return self

    def __exit__(self, *args: object) -> None:
        """Nothing to close."""

    def read(self, size: int) -> bytes:
        return self._left.pop(0)


def test_a_download_that_ends_early_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: _CutShort())
    with pytest.raises(DataError, match="ended after 4 of 10 bytes"):
        download(["https://host.invalid/x"], tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DataError, match=rf"^{re.escape(str(blocked / 'data'))} cannot be written: .*\nChoose another"):
        download(["https://host.invalid/x"], blocked / "data" / "x")
