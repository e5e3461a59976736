"""A call whose messages and end are yielded: in order, its end last, and one thread for all calls of a process."""

from __future__ import annotations

import operator
import threading
from typing import Any

import pytest

from probe.errors import UserCodeError
from probe.workers.child import encode, send_message, stream_call
from probe.workers.worker import Message, Raised, Returned, decode_event


def events(function: Any, *args: Any) -> list[Message | Returned | Raised]:
    return [decode_event(frame) for frame in stream_call(encode((function, args, {})))]


def _count_to(number: int) -> str:
    for value in range(number):
        send_message(value)
    return threading.current_thread().name


def test_messages_come_in_order_and_the_result_last() -> None:
    *messages, last = events(_count_to, 3)
    assert messages == [Message(0), Message(1), Message(2)]
    assert isinstance(last, Returned)
    [again] = events(_count_to, 0)
    assert again == last  # one thread for both, whose pools of threads are used again
    assert last.value != threading.main_thread().name


def test_what_is_raised_ends_the_stream_and_not_the_process() -> None:
    [event] = events(operator.truediv, 1, 0)
    assert isinstance(event, Raised)
    assert isinstance(event.error, UserCodeError)
    assert "ZeroDivisionError" in event.error.message
    assert events(operator.add, 1, 2) == [Returned(3)]


def test_a_result_that_cannot_travel_is_said() -> None:
    [event] = events(threading.Lock)
    assert isinstance(event, Raised)
    assert "cannot be pickled" in event.error.message


@pytest.mark.parametrize("payload", [b"no pickle", encode("no call")])
def test_what_cannot_be_read_is_said(payload: bytes) -> None:
    [event] = [decode_event(frame) for frame in stream_call(payload)]
    assert isinstance(event, Raised)
    assert "could not unpickle a call" in event.error.message


def test_messages_outside_of_a_call_go_nowhere() -> None:
    events(_count_to, 1)
    send_message("nobody listens")
    assert events(operator.add, 2, 2) == [Returned(4)]
