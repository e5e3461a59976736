"""Which source files a task is made by, and what is in them, so that a search that goes on notices edits."""

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
    """File -> hash of its code, of the imported module of `module:callable` and of the user's own modules that it uses, which
    are those of its package and those in the current folder. Comments and the layout of the code do not count.

    Files are named by their path from the current folder, or by their module where they lie elsewhere.
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
    """None for a module that is not the user's own."""
    file = getattr(module, "__file__", None)
    top = module.__name__.partition(".")[0]
    if not isinstance(file, str) or not file.endswith(".py") or not Path(file).is_file() or top == "probe":
        return None
    path, folder = Path(file).absolute(), Path.cwd()
    if path.is_relative_to(folder):
        inside = path.relative_to(folder)
        # An environment may lie in the folder, too.
        if not any(part in INSTALLED or part.startswith(".") for part in inside.parts):
            return inside.as_posix()
    return module.__name__ if top == package else None


def _used_by(module: ModuleType) -> Iterator[str]:
    """Modules that are one of its global names, or that a function, a class or another object of that name comes from."""
    for value in list(vars(module).values()):
        if isinstance(value, ModuleType):
            yield value.__name__
        else:
            yield str((value if isinstance(value, (type, FunctionType)) else type(value)).__module__)


def _hash(file: Path) -> str:
    content = file.read_bytes()
    with suppress(SyntaxError, ValueError):  # edited since it was imported, and broken
        content = ast.dump(ast.parse(content)).encode()
    return hashlib.sha256(content).hexdigest()[:16]
