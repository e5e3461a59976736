"""Which source files a task is made by, and what is in them, so that a search that goes on notices edits."""

from __future__ import annotations

import ast
import hashlib
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

FOREIGN = ("site-packages", "dist-packages")


def code_hashes(target: str) -> dict[str, str]:
    """File -> hash of its code, of the modules of `module:callable`'s package and of those below the current folder, as far as
    they are imported in this process. Comments and the layout of the code do not count.

    Files are named by their path from the current folder, or by their module where they lie elsewhere.
    """
    package = target.partition(":")[0].partition(".")[0]
    found = {}
    for name, module in sorted(sys.modules.items()):
        file = _source_file(module)
        if file is None or name.partition(".")[0] in ("probe", "__main__"):
            continue
        is_local = file.is_relative_to(Path.cwd()) and not _is_installed(file.relative_to(Path.cwd()))
        if is_local or name.partition(".")[0] == package:
            found[file.relative_to(Path.cwd()).as_posix() if is_local else name] = _hash(file)
    return found


def _source_file(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).absolute() if isinstance(file, str) and file.endswith(".py") and Path(file).is_file() else None


def _is_installed(file: Path) -> bool:
    """Of an environment that lies in the folder: a package's, or one in a hidden folder."""
    return any(part in FOREIGN or part.startswith(".") for part in file.parts)


def _hash(file: Path) -> str:
    content = file.read_bytes()
    with suppress(SyntaxError, ValueError):  # edited since it was imported, and broken
        content = ast.dump(ast.parse(content)).encode()
    return hashlib.sha256(content).hexdigest()[:16]
