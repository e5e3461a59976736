"""Hashes of the source files of a task, so that a resumed search notices edits."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FunctionType, ModuleType

INSTALLED = ("site-packages", "dist-packages")


def code_hashes(target: str) -> dict[str, str]:
    """Hashes of the imported module of a target `module:callable` and of the user's own modules that it uses.

    The user's own modules are those in the same package and those in the working directory. Comments and formatting do not
    change a hash.

    Returns:
        File -> hash. A file in the working directory is named by its relative path, any other by its module.
    """
    start = target.partition(":")[0]
    package, found, waiting = start.partition(".")[0], {}, [start]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        if name in seen or module is None:
            continue
        seen.add(name)
        label = _label(module, package)
        if label is not None:
            found[label] = _hash(Path(str(module.__file__)))
            waiting += _used_by(module)
    return dict(sorted(found.items()))


def _label(module: ModuleType, package: str) -> str | None:
    """The name of a module in the result, or None if it is not the user's own."""
    file = getattr(module, "__file__", None)
    top = module.__name__.partition(".")[0]
    if not isinstance(file, str) or not file.endswith(".py") or not Path(file).is_file() or top == "probe":
        return None
    path, folder = Path(file).absolute(), Path.cwd()
    if path.is_relative_to(folder):
        inside = path.relative_to(folder)
        # A virtual environment may be in the folder, too.
        if not any(part in INSTALLED or part.startswith(".") for part in inside.parts):
            return inside.as_posix()
    return module.__name__ if top == package else None


def _used_by(module: ModuleType) -> Iterator[str]:
    """Names of modules among the global names of `module`, and of the modules of its functions, classes and other objects."""
    for value in list(vars(module).values()):
        if isinstance(value, ModuleType):
            yield value.__name__
        else:
            yield str((value if isinstance(value, (type, FunctionType)) else type(value)).__module__)


def _hash(file: Path) -> str:
    content = file.read_bytes()
    with suppress(SyntaxError, ValueError):  # the file may have been broken since it was imported
        content = ast.dump(ast.parse(content)).encode()
    return hashlib.sha256(content).hexdigest()[:16]
