"""Downloads of named data sets. A file appears under its name only when it is complete."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from probe.data.registry import Download, download_of
from probe.errors import DataError, first_line
from probe.files import atomic_path, reason, system_errors

Progress = Callable[[str, int, int | None], None]
"""Called with (description, bytes done, total bytes or None if unknown)."""

RETRY_HINT = "Delete it and run again to download it, or replace it with a good copy."
WRITE_HINT = "Choose another folder with --data-dir or $PROBE_DATA."
_CHUNK_BYTES = 2**18
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedData:
    """A data set on disk."""

    name: str
    paths: tuple[Path, ...]
    num_bytes: int
    contents: str
    """What was found when the files were read: `11,228 newswires of 46 topics`."""
    was_there: bool
    """Whether nothing had to be downloaded."""


def no_progress(description: str, done: int, total: int | None) -> None:
    """Do nothing: for callers that show no progress."""


def fetch_data(name: str, data_dir: Path, *, progress: Progress) -> FetchedData:
    """Download and prepare a data set, or check the files that exist already. Raises DataError."""
    data = download_of(name)
    with system_errors(DataError):
        was_there = find_files(data, data_dir) is not None
        contents: str = importlib.import_module(data.module).fetch(name, data_dir, progress)
        paths = find_files(data, data_dir)
        if paths is None:
            raise AssertionError(f"{name} was fetched, but is not in {data_dir / data.folder}")
        num_bytes = sum(path.stat().st_size for path in paths)
    return FetchedData(name=name, paths=paths, num_bytes=num_bytes, contents=contents, was_there=was_there)


def find_file(folder: Path, file: str) -> Path | None:
    """The file itself or its compressed copy, NAME.gz, or None if neither exists."""
    return next((path for path in (folder / file, folder / f"{file}.gz") if path.exists()), None)


def find_files(data: Download, data_dir: Path) -> tuple[Path, ...] | None:
    """All files of a data set, or None if any is missing."""
    found = [find_file(data_dir / data.folder, file) for file in data.files]
    existing = tuple(path for path in found if path is not None)
    return existing if len(existing) == len(found) else None


def download_by_torchvision(
    data: Download, data_dir: Path, *, title: str, source: str, root: str, call: Callable[[Path], object]
) -> None:
    """Download all files of a data set with torchvision, and move them into the data folder when all are complete. `call`
    leaves the files in the subfolder `data.folder` of the temporary folder that it is given; `root` is the folder named in the
    hint of errors. Raises DataError if the files cannot be downloaded or written."""
    folder = data_dir / data.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=".download-") as scratch:
            with contextlib.redirect_stdout(sys.stderr):  # torchvision prints its progress
                call(Path(scratch))
            for file in data.files:
                Path(scratch, data.folder, file).replace(folder / file)
    except (RuntimeError, OSError, KeyError, tarfile.TarError) as error:
        if isinstance(error, PermissionError) or not folder.is_dir():
            raise DataError(f"{folder} cannot be written: {error}.", hint=WRITE_HINT) from None
        missing = [file for file in data.files if find_file(folder, file) is None]
        raise DataError(
            f"{title} is not in {folder} and could not be downloaded: {first_line(error)}",
            hint=f"Put {', '.join(missing)} into that folder, from {source}, or name the folder that has {root} with "
            "--data-dir or $PROBE_DATA.",
        ) from None


def download(urls: Sequence[str], path: Path, *, progress: Progress = no_progress) -> str:
    """Download a file from the first of `urls` that answers, and return its SHA-256 in hexadecimal digits. Raises DataError,
    whose hint tells where to put the file by hand."""
    reasons: dict[str, list[str]] = {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            for url in urls:
                try:
                    return _copy(url, temporary, progress, title=path.name)
                except (OSError, http.client.HTTPException) as error:
                    reasons.setdefault(_reason(error), []).append(urlsplit(url).hostname or url)
            raise _not_downloaded(urls, path, reasons)
    except OSError as error:
        raise DataError(f"{path.parent} cannot be written: {reason(error)}.", hint=WRITE_HINT) from None


def _not_downloaded(urls: Sequence[str], path: Path, reasons: Mapping[str, Sequence[str]]) -> DataError:
    reasons_text = "; ".join(f"{reason} ({', '.join(hosts)})" for reason, hosts in reasons.items())
    return DataError(
        f"{path.name} could not be downloaded: {reasons_text}.",
        hint=f"Download {' or '.join(urls)} elsewhere and save it as {path}",
    )


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    """The reason of an error, without the error number of the system."""
    inner = getattr(error, "reason", error)
    return str(getattr(inner, "strerror", None) or inner)


def _copy(url: str, target: Path, progress: Progress, *, title: str) -> str:
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer, target.open("wb") as file:
        length = answer.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        done = 0
        while chunk := answer.read(_CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(f"Downloading {title}", done, total)
    if total is not None and done != total:
        raise OSError(f"the download ended after {done:,} of {total:,} bytes")
    return digest.hexdigest()
