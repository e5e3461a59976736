"""A worker ignores the signals that its parent handles; the processes that code of the user starts in it do not."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from probe.system.interrupts import INTERRUPTS
from probe.workers.child import send_message
from probe.workers.death import Died
from probe.workers.worker import Message, Returned, Worker, wait_any

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals of POSIX")


@pytest.mark.parametrize("number", INTERRUPTS, ids=lambda number: number.name)
def test_worker_ignores_signals_during_a_call(number: signal.Signals) -> None:
    with Worker() as worker:
        worker.submit(_wait_for_signal)
        [(_, event)] = wait_any([worker], 60)
        assert event == Message("ready")
        for _ in range(5):
            os.kill(worker.pid, number)
        [(_, event)] = wait_any([worker], 60)
        assert event == Returned("done")
        assert worker.call(_add, 1, 2) == 3


def test_processes_that_are_started_in_a_worker_can_be_terminated() -> None:
    with Worker() as worker:
        assert worker.call(_end_by_signals) == {"forked": -signal.SIGTERM, "executed": -signal.SIGHUP}


def test_workers_of_a_data_loader_in_a_worker_end() -> None:
    """PyTorch ends those that do not exit in time by SIGTERM."""
    with Worker() as worker:
        first, alive = worker.call(_read_one_batch)
    assert first == [0, 1]
    assert alive == [False, False]


def test_interrupted_close_ends_the_worker() -> None:
    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    worker = Worker(prepare=_exit_slowly)
    worker.call(_add, 1, 2)
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            worker.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    [(_, event)] = wait_any([worker], 60)
    assert isinstance(event, Died)
    assert event.signal == signal.SIGKILL
    worker.close()


def _exit_slowly() -> None:
    atexit.register(time.sleep, 600)


def _wait_for_signal() -> str:
    send_message("ready")
    time.sleep(0.5)  # a signal does not end the sleep
    return "done"


def _add(a: int, b: int) -> int:
    return a + b


def _sleep() -> None:
    time.sleep(600)


def _end_by_signals() -> dict[str, Any]:
    forked = multiprocessing.get_context("fork").Process(target=_sleep)
    forked.start()
    forked.terminate()
    forked.join(60)
    executed = subprocess.Popen(["sleep", "600"])
    executed.send_signal(signal.SIGHUP)
    return {"forked": forked.exitcode, "executed": executed.wait(60)}


def _read_one_batch() -> tuple[list[int], list[bool]]:
    import torch
    from torch.utils.data import DataLoader

    numbers: Any = torch.arange(100)
    batches: Any = iter(DataLoader(numbers, batch_size=2, num_workers=2))
    first = next(batches).tolist()
    workers = batches._workers
    for one in workers:
        one.terminate()
        one.join(60)
    alive = [one.is_alive() for one in workers]
    del batches
    return first, alive
