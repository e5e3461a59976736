"""Files from the web: whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import tempfile
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from probe.errors import DataError

Progress = Callable[[str, int, int | None], None]
"""Called with (what is being done, how much of it is done, how much there is in all if that is known), in bytes."""

_CHUNK_BYTES = 2**18
_SILENCE_SECONDS = 30


def no_progress(what: str, done: int, total: int | None) -> None:
    """For callers with nobody to tell."""


def download(urls: Sequence[str], path: Path, *, progress: Progress = no_progress) -> str:
    """The first of `urls` that answers, as the file `path`, which appears there when it is complete.

    Returns:
        SHA-256 of the file, in hexadecimal digits.

    Raises:
        DataError: none of them could be had, or the folder cannot be written. The hint says where to put the file by hand.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as folder:
            scratch = Path(folder) / path.name
            reasons: dict[str, list[str]] = {}
            for url in urls:
                try:
                    checksum = _copy(url, scratch, progress)
                except (OSError, http.client.HTTPException) as error:
                    reasons.setdefault(_reason(error), []).append(urlsplit(url).hostname or url)
                    continue
                scratch.replace(path)
                return checksum
    except OSError as error:
        raise DataError(
            f"{path.parent} cannot be written: {error.strerror or error}.",
            hint="Choose another folder with --data-dir or $PROBE_DATA.",
        ) from None
    told = "; ".join(f"{reason} ({', '.join(hosts)})" for reason, hosts in reasons.items())
    raise DataError(
        f"{path.name} could not be downloaded: {told}.",
        hint=f"Download {' or '.join(urls)} elsewhere and put it there: {path}",
    )


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    """Why, without the number of the system's error."""
    inner = getattr(error, "reason", error)
    return str(getattr(inner, "strerror", None) or inner)


def _copy(url: str, target: Path, progress: Progress) -> str:
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=_SILENCE_SECONDS) as answer, target.open("wb") as file:
        length = answer.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        done = 0
        while chunk := answer.read(_CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(f"Downloading {target.name}", done, total)
    if total is not None and done != total:
        raise OSError(f"it ended after {done:,} of {total:,} bytes")
    return digest.hexdigest()
