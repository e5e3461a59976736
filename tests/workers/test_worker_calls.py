"""Real child processes: calls, messages, errors, deaths."""

from __future__ import annotations

import operator
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from probe.errors import DeviceError, TaskError, UserCodeError
from probe.system.host_memory import total_memory_bytes
from probe.units import format_bytes
from probe.workers.child import send_message
from probe.workers.death import SAVE_MEMORY, Died, WorkerDied
from probe.workers.worker import Message, Raised, Returned, Worker, wait_any

MIB = 2**20
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture(scope="module")
def shared() -> Iterator[Worker]:
    """One child for the tests that leave it alive."""
    with Worker() as worker:
        yield worker


def echo(value: Any) -> Any:
    return value


def count_to(number: int) -> str:
    for i in range(number):
        sys.stdout.write(f"this goes to standard error {i}\n")
        send_message(i)
    return "done"


def write_to_descriptor_one() -> str:
    os.write(1, b"\0" * 100)
    os.system("echo a subprocess prints too")
    return sys.stdin.read()


def wait_for_ever() -> None:
    threading.Event().wait()


def refuse() -> None:
    raise DeviceError("no such device", hint="buy one")


def divide(number: int) -> float:
    return number / 0


def test_a_call_returns_its_value_and_the_child_stays(shared: Worker) -> None:
    assert shared.call(echo, {"a": [1, 2.5, None]}) == {"a": [1, 2.5, None]}
    assert shared.call(os.getpid) == shared.call(os.getpid) == shared.pid != os.getpid()


def test_functions_of_a_script_travel_by_value(shared: Worker) -> None:
    factor = 3
    assert shared.call(lambda number: number * factor, 14) == 42


def test_messages_arrive_in_order_before_the_result(shared: Worker) -> None:
    messages: list[int] = []
    assert shared.call(count_to, 200, on_message=messages.append) == "done"
    assert messages == list(range(200))


def test_nothing_is_sent_outside_a_worker() -> None:
    assert count_to(2) == "done"


def test_user_prints_and_reads_cannot_disturb_the_pipes(shared: Worker) -> None:
    assert shared.call(write_to_descriptor_one) == ""
    assert shared.call(echo, 5) == 5


def test_large_values_travel_both_ways(shared: Worker) -> None:
    value = os.urandom(MIB) * 50
    assert shared.call(echo, value) == value


def test_our_errors_cross_as_themselves(shared: Worker) -> None:
    with pytest.raises(DeviceError, match="no such device") as caught:
        shared.call(refuse)
    assert caught.value.hint == "buy one"


def test_other_errors_bring_the_childs_traceback(shared: Worker) -> None:
    with pytest.raises(UserCodeError, match="ZeroDivisionError: division by zero") as caught:
        shared.call(divide, 1)
    assert "in divide" in caught.value.traceback
    assert "return number / 0" in caught.value.traceback
    assert "serve" not in caught.value.traceback


def test_system_exit_is_an_error_like_any_other(shared: Worker) -> None:
    with pytest.raises(UserCodeError, match="SystemExit: 3"):
        shared.call(sys.exit, 3)
    assert shared.call(echo, 1) == 1


def test_what_cannot_be_sent_is_named(shared: Worker) -> None:
    with pytest.raises(TaskError, match=r"echo and its arguments cannot be sent to a worker process: .*lock"):
        shared.call(echo, threading.Lock())
    with pytest.raises(TaskError, match=r"a lock that cannot be pickled"):
        shared.call(threading.Lock)
    assert shared.call(echo, 1) == 1


def test_what_cannot_be_read_there_is_named(shared: Worker) -> None:
    with pytest.raises(TaskError, match="could not unpickle a call: ModuleNotFoundError"):
        shared.call(echo, _NeedsModule())


class _NeedsModule:
    def __reduce__(self) -> Any:
        return __import__, ("a_module_that_is_not_there",)


def test_one_call_at_a_time(shared: Worker) -> None:
    shared.submit(time.sleep, 0.2)
    assert shared.busy
    with pytest.raises(RuntimeError, match="one call at a time"):
        shared.submit(echo, 1)
    assert wait_any([shared], 30) == [(shared, Returned(None))]
    assert not shared.busy


def test_waiting_ends_with_the_timeout(shared: Worker) -> None:
    started = time.monotonic()
    assert wait_any([shared], 0.1) == []
    assert time.monotonic() - started < 5


def test_threads_and_variables_are_set_before_anything_is_imported() -> None:
    with Worker(num_threads=3, env={"PROBE_TEST": "x"}) as worker:
        seen = worker.call(lambda: [os.environ[name] for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "PROBE_TEST")])
        assert seen == ["3", "PASSIVE", "x"]
        assert "torch" not in worker.call(lambda: set(sys.modules))


def test_events_of_several_workers_come_as_they_happen() -> None:
    with Worker() as first, Worker() as second:
        first.submit(count_to, 2)
        second.submit(divide, 1)
        events: dict[Worker, list[Any]] = {first: [], second: []}
        while first.busy or second.busy:
            for worker, event in wait_any([first, second], 30):
                events[worker].append(event)
        assert events[first] == [Message(0), Message(1), Returned("done")]
        assert [type(event) for event in events[second]] == [Raised]


def test_an_exit_in_the_middle_of_a_call_is_reported_with_the_last_words() -> None:
    with Worker() as worker:
        with pytest.raises(WorkerDied, match=r"(?s)exited with code 3.*last words") as caught:
            worker.call(exec, "import os; print('last words', flush=True); os._exit(3)")
        assert (caught.value.died.exit_code, caught.value.died.signal) == (3, None)
        assert (caught.value.exit_code, caught.value.hint) == (1, None)  # of the command
        with pytest.raises(WorkerDied, match="exited with code 3"):
            worker.call(echo, 1)


@posix
def test_a_kill_in_the_middle_of_a_call_is_an_event() -> None:
    with Worker() as worker:
        worker.submit(time.sleep, 60)
        os.kill(worker.pid, signal.SIGKILL)
        ((found, event),) = wait_any([worker], 30)
    assert found is worker
    assert isinstance(event, Died)
    assert event.signal == 9
    assert event.free_bytes is not None
    assert 0 < event.free_bytes <= total_memory_bytes()
    assert all(fact in event.summary for fact in ("SIGKILL", "out-of-memory killer", format_bytes(event.free_bytes)))
    assert WorkerDied(event).hint == SAVE_MEMORY
    assert "--workers" in SAVE_MEMORY
    assert pickle.loads(pickle.dumps(WorkerDied(event))).died == event


@posix
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM, signal.SIGBUS])
def test_other_signals_say_nothing_of_memory(number: signal.Signals) -> None:
    died = Died(exit_code=-number, stderr="last words", free_bytes=2**30)
    assert (died.lacked_memory, WorkerDied(died).hint) == (False, None)
    assert (died.summary, died.description) == (
        f"was killed by {number.name}",
        f"was killed by {number.name}\nlast words",
    )
    assert Died(exit_code=9).summary == "exited with code 9"


@posix
def test_a_death_is_noticed_though_a_forked_process_holds_the_pipe() -> None:
    def fork_and_die() -> None:
        if os.fork() == 0:
            time.sleep(60)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)

    started = time.monotonic()
    with Worker() as worker, pytest.raises(WorkerDied, match="SIGKILL"):
        worker.call(fork_and_die)
    assert time.monotonic() - started < 20


@posix
def test_ctrl_c_is_not_the_childs_business(shared: Worker) -> None:
    shared.call(operator.add, 1, 1)  # a child that is still starting has not said so yet
    shared.submit(count_to, 3)
    os.kill(shared.pid, signal.SIGINT)
    ends = []
    while shared.busy:
        ends += [event for _, event in wait_any([shared], 30) if not isinstance(event, Message)]
    assert ends == [Returned("done")]


def test_closing_ends_a_busy_child_at_once() -> None:
    with Worker() as worker:
        worker.submit(time.sleep, 60)
        started = time.monotonic()
    assert time.monotonic() - started < 10
    assert [type(event) for _, event in wait_any([worker], 1)] == [Died]


def test_a_folder_of_our_name_where_we_are_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "__init__.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    with Worker() as worker:
        assert worker.call(echo, 3) == 3


def test_a_call_that_takes_too_long_ends_with_its_worker() -> None:
    with Worker() as worker:
        assert worker.call(echo, 7, timeout_seconds=3600.0) == 7
        with pytest.raises(TimeoutError):
            worker.call(wait_for_ever, timeout_seconds=0.1)
        ((_, event),) = wait_any([worker], None)
        assert isinstance(event, Died)
