"""Builds a Task from the user's target `module:callable`, and hashes its source files, so that a search notices edits."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from inspect import Parameter
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from probe.errors import ProbeError, TaskError, check_known, exit_error, user_code_error
from probe.system.module_names import INSTALLED, add_working_folder, is_standard, namesake_hint, working_folder
from probe.task import Task
from probe.workers.process_state import complete

_OWN_HINT = (
    "Name a function of your own that returns a probe.Task, like mytask:task for the function task in mytask.py."
)
_MAIN_HINT = 'probe imports the module, so put the code of your program under `if __name__ == "__main__":`.'


def load_task(target: str, params: Mapping[str, object] | None = None) -> Task:
    """Call the target with `params` as keywords. Modules in the working directory take precedence over installed ones, but not
    over Python's standard library. Raises TaskError, or UserCodeError if the user's code raised an exception."""
    return make_task(target, find_target(target), params or {})


def make_task(name: str, factory: Callable[..., Any], params: Mapping[str, object]) -> Task:
    """Call `factory` with `params`; errors call it `name`. Raises the same errors as `load_task`."""
    check_keywords(name, factory, params)
    try:
        task = factory(**params)
    except ProbeError:
        raise
    except SystemExit as error:
        hint = "Return a probe.Task, or raise an exception."
        raise exit_error(name, error, when="instead of returning a task", hint=hint) from None
    except Exception as error:
        raise user_code_error(f"{name} raised {type(error).__name__}: {error}", error) from None
    if not isinstance(task, Task):
        raise TaskError(
            f"{name} must return a probe.Task, but returned {type(task).__name__}.",
            hint="End the function with: return probe.Task(model=..., train=...)",
        )
    return task


def find_target(target: str) -> Callable[..., Any]:
    """Import the callable of a target, which is neither of Python's standard library nor of probe. Raises TaskError or
    UserCodeError as `load_task`."""
    module_name, colon, attribute = target.partition(":")
    if not (module_name and colon and attribute):
        raise TaskError(f"'{target}' does not name a task.", hint=f"Write module:callable. {_OWN_HINT}")
    add_working_folder()
    if owner := _foreign_owner(module_name):
        raise TaskError(
            f"{target} cannot be a task: {module_name} is a module of {owner}.",
            hint=namesake_hint(module_name) or _OWN_HINT,
        )
    module = _import(target, module_name)
    if not hasattr(module, attribute):
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        kind = f"callable of module {module_name}:"
        check_known(TaskError, kind, attribute, names, hint=namesake_hint(module_name) or "")
    factory = getattr(module, attribute)
    if not callable(factory):
        raise TaskError(f"{target} is a {type(factory).__name__}, not a function that returns a probe.Task.")
    defined_in = _defining_module(factory)
    if owner := _foreign_owner(defined_in):
        raise TaskError(f"{target} cannot be a task: it comes from {defined_in}, a module of {owner}.", hint=_OWN_HINT)
    keyword_parameters(target, factory)
    return factory  # type: ignore[no-any-return]  # an attribute of a module found at run time is Any


def _foreign_owner(module_name: str) -> str | None:
    """`Python's standard library` or `probe` if the module belongs to it; otherwise None."""
    if is_standard(module_name):
        return "Python's standard library"
    return "probe" if module_name.partition(".")[0] == "probe" else None


def _defining_module(factory: Callable[..., Any]) -> str:
    """Name of the module that defines the function of a callable, which another module may have imported."""
    while isinstance(factory, functools.partial):
        factory = factory.func
    factory = getattr(factory, "__func__", factory)  # of a bound method
    return getattr(factory, "__module__", None) or type(factory).__module__


def keyword_parameters(title: str, factory: Callable[..., Any]) -> tuple[dict[str, Parameter], bool]:
    """The keywords of `factory`, and whether it takes any others. Raises TaskError if keywords are not enough to call it."""
    try:
        known = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # most functions of C extensions
        raise TaskError(
            f"{title} cannot be a task: Python does not know which keywords this {type(factory).__name__} takes.",
            hint=_OWN_HINT,
        ) from None
    named = {one.name: one for one in known if one.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)}
    for parameter in known:
        if parameter.kind is Parameter.POSITIONAL_ONLY and parameter.default is Parameter.empty:
            raise TaskError(
                f"{title} must be callable with keywords, but takes '{parameter.name}' by position only.",
                hint="Remove the / from the parameters of the function.",
            )
    return named, any(parameter.kind is Parameter.VAR_KEYWORD for parameter in known)


def check_keywords(target: str, factory: Callable[..., Any], params: Mapping[str, object]) -> None:
    """Raise TaskError if `factory` does not take one of `params`, or requires another one."""
    known, takes_any = keyword_parameters(target, factory)
    for name in params:
        if not takes_any:
            check_known(TaskError, f"keyword of {target}:", name, list(known))
    for name, parameter in known.items():
        if parameter.default is Parameter.empty and name not in params:
            raise TaskError(
                f"{target} needs a value for '{name}'.",
                hint=f"Add a default value to the function, or set {name} in the recipe's [space].",
            )


def _import(target: str, module_name: str) -> object:
    known = sys.modules.get(module_name)
    if known is not None:
        return known
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (error.name == module_name or module_name.startswith(f"{error.name}.")):
            file, folder = f"{module_name.replace('.', '/')}.py", working_folder() or "a folder that was removed"
            raise TaskError(
                f"There is no module '{module_name}' for the task {target}.",
                hint=f"Searched for {file} in {folder}, and among the installed packages.",
            ) from None
        raise user_code_error(f"{module_name} could not be imported: {error}", error) from None
    except SystemExit as error:
        raise exit_error(f"The module {module_name}", error, when="when it is imported", hint=_MAIN_HINT) from None
    except Exception as error:
        raise user_code_error(f"{module_name} could not be imported: {type(error).__name__}: {error}", error) from None
    complete(imported=True)
    return module


def code_hashes(target: str) -> dict[str, str]:
    """File -> hash, for the imported module of a target `module:callable` and the user's own modules that it uses: those in the
    same package and those in the working directory. Comments and formatting do not change a hash. Files outside the working
    directory are named by their module."""
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
