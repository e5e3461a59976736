"""The reason of a failed trial, on one line."""

from __future__ import annotations

import pytest
import torch

from probe.errors import user_code_error
from probe.search.analysis.reasons import reason


class Refused(Exception):  # noqa: N818  # as users name theirs
    pass


def attention() -> None:
    torch.nn.MultiheadAttention(10, 3)


def chained() -> None:
    try:
        attention()
    except AssertionError:
        raise ValueError("embed_dim must be divisible by num_heads") from None


def caused() -> None:
    try:
        [][1]
    except IndexError as error:
        raise Refused("width = 3 | heads = 2") from error


def wrong_weights() -> None:
    torch.nn.Linear(2, 3).load_state_dict({"other": torch.zeros(1)})


def many_lines() -> None:
    raise RuntimeError("CUDA error: device-side assert triggered\n\nonly\n  asynchronously\nTORCH_USE_CUDA_DSA")


def noted() -> None:
    error = KeyError("x")
    error.add_note("while building the model")
    raise error


def unreadable() -> None:
    compile("def f(:", "model.py", "exec")


@pytest.mark.parametrize(
    ("fail", "expected"),
    [
        (chained, "ValueError: embed_dim must be divisible by num_heads"),
        (caused, f"{__name__}.Refused: width = 3 | heads = 2"),
        (attention, "AssertionError: embed_dim must be divisible by num_heads"),
        (many_lines, "RuntimeError: CUDA error: device-side assert triggered ... TORCH_USE_CUDA_DSA"),
        (noted, "KeyError: 'x' while building the model"),
    ],
)
def test_a_traceback_is_told_by_its_error_whole(fail: object, expected: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011  # each raises another
        fail()  # type: ignore[operator]
    assert reason(user_code_error("text", raised.value).traceback) == expected


@pytest.mark.parametrize("fail", [wrong_weights, unreadable])
def test_errors_with_indented_lines_keep_their_name(fail: object) -> None:
    with pytest.raises((RuntimeError, SyntaxError)) as raised:
        fail()  # type: ignore[operator]
    told = reason(user_code_error("text", raised.value).traceback)
    assert told.startswith(f"{type(raised.value).__name__}: ")
    assert "\n" not in told


def test_other_messages_are_joined_and_long_outputs_keep_their_ends() -> None:
    assert reason("Metric 'f1' must return one number.\nReduce it.") == "Metric 'f1' must return one number. Reduce it."
    words = "x" * 5000
    assert reason(words) == words
    died = "The worker was killed by SIGSEGV\nwarning\nwarning\nFatal Python error: Segmentation fault"
    assert reason(died) == "The worker was killed by SIGSEGV ... Fatal Python error: Segmentation fault"
    assert reason("") == ""


def test_a_traceback_that_was_cut_within_its_frames_keeps_its_last_line() -> None:
    cut = 'Traceback (most recent call last):\n  File "model.py", line 3, in forward\n    return self.layer(x)\n'
    assert reason(cut) == "return self.layer(x)"
