"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from probe.errors import OutputError


def write_bytes(path: Path, content: bytes) -> None:
    """Write under a temporary name beside `path`, then rename: a reader never meets half a file.

    Raises OutputError where the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}.", hint="Name a place that you may write to."
        ) from error


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8. Lone surrogates (undecodable bytes of a command line) are written as escapes."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))
