"""Errors of the user's own code, told with the frames that are theirs."""

from __future__ import annotations

import traceback
from pathlib import Path

from probe.errors import UserCodeError


def user_code_error(message: str, error: BaseException, *, hint: str | None = None) -> UserCodeError:
    """An error of the user's own code, with the frames that are theirs: probe's own frames above it are left out."""
    here = str(Path(__file__).parent)
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(here) and frames.tb_next is not None:
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames))
    return UserCodeError(message, traceback=text, hint=hint)


def exit_error(subject: str, error: SystemExit, *, when: str, hint: str) -> UserCodeError:
    """For code that ends the process: by sys.exit, or by argparse, which finds no arguments of its own."""
    frames = traceback.extract_tb(error.__traceback__)
    parses = any(Path(frame.filename).name == "argparse.py" for frame in frames)
    does = "parses the command line" if parses else f"calls sys.exit({'' if error.code is None else repr(error.code)})"
    return user_code_error(f"{subject} {does} {when}.", error, hint=hint)
