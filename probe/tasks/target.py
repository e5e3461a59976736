"""Builds a Task from the user's target `module:callable`."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from probe.errors import ProbeError, TaskError, exit_error, unknown_name, user_code_error
from probe.task import Task
from probe.workers.process_state import complete

_MAIN_HINT = 'probe imports the module, so put the code of your program under `if __name__ == "__main__":`.'


def load_task(target: str, params: Mapping[str, object] | None = None) -> Task:
    """Call the target with `params` as keywords. Modules in the working directory take precedence over installed ones.

    Raises:
        TaskError: the target cannot be imported, does not take these keywords, or does not return a Task.
        UserCodeError: the user's module or callable raised an exception.
    """
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
    """Import the callable of a target. Raises TaskError or UserCodeError as `load_task`."""
    module_name, colon, attribute = target.partition(":")
    if not (module_name and colon and attribute):
        raise TaskError(
            f"'{target}' does not name a task.",
            hint="Write module:callable, like mytask:task for the function task in mytask.py.",
        )
    module = _import(target, module_name)
    if not hasattr(module, attribute):
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        message, hint = unknown_name(f"callable of module {module_name}:", attribute, names or ["(none)"])
        raise TaskError(message, hint=hint)
    factory = getattr(module, attribute)
    if not callable(factory):
        raise TaskError(f"{target} is a {type(factory).__name__}, not a function that returns a probe.Task.")
    return factory  # type: ignore[no-any-return]  # an attribute of a module found at run time is Any


def check_keywords(target: str, factory: Callable[..., Any], params: Mapping[str, object]) -> None:
    """Raise TaskError if `factory` does not take one of `params`, or requires another one."""
    known = inspect.signature(factory).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    for name in params:
        if name not in known and not takes_any:
            message, hint = unknown_name(f"keyword of {target}:", name, list(known) or ["(none)"])
            raise TaskError(message, hint=hint)
    for name, parameter in known.items():
        optional = parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        if parameter.default is inspect.Parameter.empty and not optional and name not in params:
            raise TaskError(
                f"{target} needs a value for '{name}'.",
                hint=f"Add a default value to the function, or set {name} in the recipe's [space].",
            )


def _import(target: str, module_name: str) -> object:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    known = sys.modules.get(module_name)
    if known is not None:
        return known
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (error.name == module_name or module_name.startswith(f"{error.name}.")):
            raise TaskError(
                f"There is no module '{module_name}' for the task {target}.",
                hint=f"Searched for {module_name.replace('.', '/')}.py in {folder}, and among the installed packages.",
            ) from None
        raise user_code_error(f"{module_name} could not be imported: {error}", error) from None
    except SystemExit as error:
        raise exit_error(f"The module {module_name}", error, when="when it is imported", hint=_MAIN_HINT) from None
    except Exception as error:
        raise user_code_error(f"{module_name} could not be imported: {type(error).__name__}: {error}", error) from None
    complete(imported=True)
    return module
