"""What the name of a module stands for: the standard library, an installed package or a file of the user. Imports nothing."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

INSTALLED = ("site-packages", "dist-packages")


def find_file(module_name: str) -> Path | None:
    """The file that an import of the module would execute, found without importing its packages; None if there is none."""
    spec = find_spec(module_name)
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin is not None else None


def find_spec(module_name: str) -> ModuleSpec | None:
    """Like `importlib.util.find_spec`, which would import the packages that contain the module."""
    top, *rest = module_name.split(".")
    found = (finder.find_spec(top, None) for finder in sys.meta_path)
    spec = next((one for one in found if one is not None), None)
    for name in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    return spec


def is_standard(module_name: str) -> bool:
    """Whether the module belongs to Python's standard library: by its name, or by the folder of its file."""
    top = module_name.partition(".")[0]
    file = None if top in sys.stdlib_module_names else find_file(top)
    if file is None:
        return top in sys.stdlib_module_names
    folder = Path(sysconfig.get_path("stdlib"))
    return file.is_relative_to(folder) and file.relative_to(folder).parts[0] not in INSTALLED


def working_folder() -> Path | None:
    """The working folder, or None if it was removed."""
    with suppress(FileNotFoundError):
        return Path.cwd()
    return None


def add_working_folder() -> None:
    """Put the working folder on the module search path, as `put_on_path` does, unless it is on the path."""
    folder = str(working_folder() or "")
    if folder and folder not in sys.path:
        put_on_path(folder)


def put_on_path(*folders: str) -> None:
    """Put the user's `folders` on the module search path.

    The standard library comes before them, so that no file of the user replaces a module that Python or a library imports
    later. All other modules come after them, so that the user's own files have precedence over installed packages.
    """
    standard = [path for path in sys.path if _is_standard_path(path)]
    sys.path[:] = dict.fromkeys([*standard, *folders, *sys.path])


def namesake_hint(module_name: str) -> str | None:
    """What to do if the working folder contains a module with the name of another one; None if it does not."""
    top, folder = module_name.partition(".")[0], working_folder()
    if folder is None:
        return None
    file = next((path for path in (Path(f"{top}.py"), Path(top, "__init__.py")) if (folder / path).is_file()), None)
    if file is None:
        return None
    if is_standard(top):
        other = "a module of Python's standard library"
    else:
        elsewhere = PathFinder.find_spec(top, [path for path in sys.path if Path(path).absolute() != folder])
        if elsewhere is None or elsewhere.origin in (None, str(folder / file)):
            return None
        other = "an installed package"
    return f"{file} in the working folder has the same name as {other}, so that one hides the other. Rename it."


def namesake_of(error: BaseException | None) -> str | None:
    """The `namesake_hint` for the module that lacks what was imported from it, or looked up in it; None for other errors."""
    while error is not None:
        for name in _lacking(error):
            hint = namesake_hint(name)
            if hint is not None:
                return hint
        error = error.__cause__ or error.__context__
    return None


def _lacking(error: BaseException) -> Iterator[str]:
    if isinstance(error, ImportError) and error.name:
        yield error.name
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        yield error.obj.__name__


def _is_standard_path(path: str) -> bool:
    folder = Path(sysconfig.get_path("stdlib"))
    return Path(path) in (folder, folder / "lib-dynload")
