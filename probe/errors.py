"""Every error that probe raises on purpose.

    ProbeError             exit 1
      UsageError           exit 2   the command line or a Python argument is wrong
        RecipeError        exit 2   the recipe is wrong
      TaskError            exit 3   the user's task cannot be loaded or does not keep its contract
        Infeasible         exit 3   the user's code refuses a configuration
        DataError          exit 3   a data set is missing, unreadable or unfit
          ChangedDataError          it is not the one that a search began with
        UserCodeError      exit 3   the user's own code raised; carries their traceback
      DeviceError          exit 4   the device is not there or cannot be used
      NothingFitsError     exit 5   not even batch size 1 fits, or no trial was completed
      OutputError          exit 6   results cannot be written or read
        DiskFullError      exit 6   because there is no room for them

Running out of memory, divergence and stopping a trial are not here: they are values in records.
"""

from __future__ import annotations

from typing import Any


class ProbeError(Exception):
    """An error with a sentence for the user: what was given, what is allowed; `hint` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, result: Any = None) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint
        self.result = result
        """Partial result measured before the error, or None."""

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.__dict__)


class UsageError(ProbeError):
    exit_code = 2


class RecipeError(UsageError):
    pass


class TaskError(ProbeError):
    exit_code = 3


class Infeasible(TaskError):  # noqa: N818 - users raise it as a statement, not as an error
    """Raised by the user's own code: this combination of hyperparameters is invalid.

        if dim % heads:
            raise probe.Infeasible(f"dim {dim} is not divisible by {heads} heads")

    From the function that builds the Task, from `model()` or from `forward`. In a search the trial is infeasible for this
    reason and the sampler learns to avoid its like; elsewhere it is an error.
    """


class DataError(TaskError):
    pass


class ChangedDataError(DataError):
    """A task's data are not those that a search began with. It ends the search: nothing that is measured on them compares."""


class UserCodeError(TaskError):
    """The user's own code raised. `traceback` is theirs, as Python would print it."""

    def __init__(self, message: str, *, traceback: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.traceback = traceback


class DeviceError(ProbeError):
    exit_code = 4


class NothingFitsError(ProbeError):
    exit_code = 5


class OutputError(ProbeError):
    exit_code = 6


class DiskFullError(OutputError):
    pass


def _rebuild(kind: type[ProbeError], state: dict[str, object]) -> ProbeError:
    """Unpickle an error as it was: errors cross from worker processes to their parent."""
    error = kind.__new__(kind)
    Exception.__init__(error, state["message"], state["hint"])
    error.__dict__.update(state)
    return error


def near_misses(given: str, known: list[str] | tuple[str, ...], *, most: int = 3) -> list[str]:
    """Those of `known` that look like a mistyped `given`, best first."""
    import difflib

    return difflib.get_close_matches(given, known, n=most, cutoff=0.6)


def unknown_name(kind: str, given: str, known: list[str] | tuple[str, ...]) -> tuple[str, str]:
    """Message and hint for a name that is not among `known`: near misses if there are any, else the whole list."""
    close = near_misses(given, known)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(sorted(known))}."
    return f"Unknown {kind} '{given}'.", hint


def check_whole(name: str, value: object, *, least: int, most: int) -> None:
    """Raise TaskError for anything but a whole number in this range."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise TaskError(f"{name} must be a whole number from {least} to {most}, not {value!r}.")
