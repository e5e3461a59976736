"""Every error that probe raises on purpose, and helpers that describe errors.

    ProbeError             exit 1
      UsageError           exit 2   the command line or a Python argument is wrong
        RecipeError        exit 2   the recipe is wrong
      TaskError            exit 3   the user's task cannot be loaded or breaks its contract
        Infeasible         exit 3   the user's code rejects a configuration
        DataError          exit 3   a data set is missing, unreadable or unsuitable
          ChangedDataError          the data have changed since the search was started
        UserCodeError      exit 3   the user's code raised; carries its traceback
      DeviceError          exit 4   the device does not exist or cannot be used
      NothingFitsError     exit 5   not even batch size 1 fits, or no trial was completed
      OutputError          exit 6   results cannot be written or read
        DiskFullError      exit 6   the disk is full

Running out of memory, divergence and stopping a trial are outcomes stored in records, not errors.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from probe.system.gpu_errors import sticky_gpu_error, with_sticky_cause
from probe.system.module_names import namesake_of


class ProbeError(Exception):
    """Base class of all errors of probe.

    Args:
        message: what happened, with the value that was given, and what is allowed.
        hint: what to do next.
        result: the partial result measured before the error.
    """

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
    """The command line or a Python argument is wrong."""

    exit_code = 2


class RecipeError(UsageError):
    """The recipe is wrong."""


class TaskError(ProbeError):
    """The user's task cannot be loaded or breaks its contract."""

    exit_code = 3


class Infeasible(TaskError):  # noqa: N818 - users raise it as a statement, not as an error
    """Raised by the user's code to reject a combination of hyperparameters.

        if dim % heads:
            raise probe.Infeasible(f"dim {dim} is not divisible by {heads} heads")

    It may be raised by the function that builds the Task, by `model()` or by `forward`. A search marks the trial as
    infeasible, and the sampler learns to avoid similar combinations; everywhere else it is an error.
    """


class DataError(TaskError):
    """A data set is missing, unreadable or unsuitable."""


class ChangedDataError(DataError):
    """The data have changed since the search was started. The search ends, because its trials cannot be compared."""


class UserCodeError(TaskError):
    """The user's code raised an exception. `traceback` is as Python prints it, without probe's own frames."""

    def __init__(self, message: str, *, traceback: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.traceback = traceback


class DeviceError(ProbeError):
    """The device does not exist or cannot be used."""

    exit_code = 4


class NothingFitsError(ProbeError):
    """Not even batch size 1 fits into memory, or no trial was completed."""

    exit_code = 5


class OutputError(ProbeError):
    """Results cannot be written or read."""

    exit_code = 6


class DiskFullError(OutputError):
    """Results cannot be written because the disk is full."""


def _rebuild(kind: type[ProbeError], state: dict[str, object]) -> ProbeError:
    """Unpickle an error with all of its attributes, as when it is sent from a worker process to its parent."""
    error = kind.__new__(kind)
    Exception.__init__(error, state["message"], state["hint"])
    error.__dict__.update(state)
    return error


def user_code_error(message: str, error: BaseException, *, hint: str | None = None) -> UserCodeError:
    """Turn an exception from the user's code into a UserCodeError, dropping probe's own frames above it. If a file of the user
    has the name of the module that the exception is about, or if the GPU cannot be used any more, the hint says so."""
    probe_folder = str(Path(__file__).parent)
    frames = error.__traceback__
    while (
        frames is not None
        and frames.tb_frame.f_code.co_filename.startswith(probe_folder)
        and frames.tb_next is not None
    ):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames))
    cause = sticky_gpu_error()
    if cause is not None and cause not in text:
        text = f"{text.rstrip()} ({cause})\n"
    message, about_gpu = with_sticky_cause(message)
    return UserCodeError(message, traceback=text, hint=about_gpu or namesake_of(error) or hint)


def exit_error(subject: str, error: SystemExit, *, when: str, hint: str) -> UserCodeError:
    """The error for user code that ends the process: with sys.exit, or with argparse, which does not find its arguments."""
    frames = traceback.extract_tb(error.__traceback__)
    parses = any(Path(frame.filename).name == "argparse.py" for frame in frames)
    does = "parses the command line" if parses else f"calls sys.exit({'' if error.code is None else repr(error.code)})"
    return user_code_error(f"{subject} {does} {when}.", error, hint=hint)


def first_line(error: BaseException | str) -> str:
    """The first non-empty line of a message. An exception without a message gives the name of its class."""
    return next(iter(_lines(error)), "")


def last_line(error: BaseException | str) -> str:
    """The last non-empty line of a message. An exception without a message gives the name of its class."""
    return next(reversed(_lines(error)), "")


def _lines(error: BaseException | str) -> list[str]:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines if lines or isinstance(error, str) else [type(error).__name__]


def near_misses(given: str, known: list[str] | tuple[str, ...], *, most: int = 3) -> list[str]:
    """Known names that are spelled similarly to `given`, the most similar first."""
    import difflib

    return difflib.get_close_matches(given, known, n=most, cutoff=0.6)


def did_you_mean(given: str, known: list[str] | tuple[str, ...]) -> str:
    """`; did you mean a or b?` to continue a sentence, or nothing if no known name is spelled similarly."""
    close = near_misses(given, known)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def unknown_name(kind: str, given: str, known: list[str] | tuple[str, ...]) -> tuple[str, str]:
    """Message and hint for an unknown name. The hint lists similar names if there are any, else all known names."""
    close = near_misses(given, known)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(sorted(known))}."
    return f"Unknown {kind} '{given}'.", hint


def check_known(
    error: type[ProbeError], kind: str, given: object, known: list[str] | tuple[str, ...], *, hint: str = ""
) -> None:
    """Raise `error` with similar names, and with `hint` after them, unless `given` is one of the `known` names."""
    if given not in known:
        message, names = unknown_name(kind, str(given), known or ("(none)",))
        raise error(message, hint=f"{names} {hint}".rstrip())
