"""Errors: exit codes, pickling, first lines, frames of the user's code."""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Callable

import pytest

from probe.errors import (
    DataError,
    DeviceError,
    ProbeError,
    UserCodeError,
    exit_error,
    first_line,
    last_line,
    unknown_name,
    user_code_error,
)


@pytest.mark.parametrize(
    ("error", "first", "last"),
    [
        (ValueError("one\ntwo"), "one", "two"),
        (ValueError("\n  one  \n\n"), "one", "one"),
        (ValueError(""), "ValueError", "ValueError"),
        (ValueError("  \n "), "ValueError", "ValueError"),
        (DeviceError("what", hint="next"), "what", "next"),
        ("text\nmore", "text", "more"),
        ("", "", ""),
    ],
)
def test_first_and_last_line(error: Exception | str, first: str, last: str) -> None:
    assert (first_line(error), last_line(error)) == (first, last)


def test_an_error_survives_pickling_with_all_attributes() -> None:
    error = UserCodeError("what", traceback="Traceback ...", hint="next")
    error.result = {"partial": 1}
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is UserCodeError
    assert (copy.message, copy.hint, copy.traceback, copy.result) == ("what", "next", "Traceback ...", {"partial": 1})
    assert copy.exit_code == 3
    assert str(copy) == "what\nnext"


def test_an_error_carries_its_partial_result() -> None:
    assert ProbeError("what").result is None
    assert DataError("what", result=5).result == 5


def test_an_unknown_name_lists_similar_names_or_all() -> None:
    assert unknown_name("model", "resnet-19", ["resnet-18", "lstm"]) == (
        "Unknown model 'resnet-19'.",
        "Did you mean resnet-18?",
    )
    assert "a, b" in unknown_name("model", "zzz", ["b", "a"])[1]


def test_the_traceback_of_user_code_has_no_frames_of_probe() -> None:
    def fail() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError) as caught:
        fail()
    error = user_code_error("it fails", caught.value)
    assert "in fail" in error.traceback
    assert "KeyError: 'lost'" in error.traceback


@pytest.mark.parametrize(
    ("leave", "said"),
    [
        (lambda: sys.exit(), "calls sys.exit() when imported"),
        (lambda: sys.exit(3), "calls sys.exit(3) when imported"),
        (lambda: argparse.ArgumentParser().parse_args(["--unknown"]), "parses the command line when imported"),
    ],
)
def test_code_that_ends_the_process_is_told_from_code_that_parses_arguments(
    leave: Callable[[], object], said: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        leave()
    error = exit_error("mytask.py", caught.value, when="when imported", hint="Guard it.")
    assert str(error) == f"mytask.py {said}.\nGuard it."
    assert error.traceback.startswith("Traceback")
