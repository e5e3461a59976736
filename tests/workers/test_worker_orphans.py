"""However the parent dies, no child outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import sys, time
from probe.workers.worker import Worker
workers = [Worker(), Worker()]
for worker in workers:
    worker.call(len, [])
workers[0].submit(time.sleep, 600)
print(*(worker.pid for worker in workers), flush=True)
{then}
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # a zombie waits for somebody to read its exit code, and runs no more


def wait_until_gone(pids: list[int]) -> list[int]:
    """Those still running after some seconds."""
    deadline = time.monotonic() + 20
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [pid for pid in pids if is_running(pid)]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the process table in /proc")
@pytest.mark.parametrize(
    ("then", "by_signal"),
    [
        ("time.sleep(600)", signal.SIGKILL),
        ("time.sleep(600)", signal.SIGTERM),
        ("raise RuntimeError('an error that nobody catches')", None),
        ("", None),
    ],
    ids=["kill", "terminate", "error", "end"],
)
def test_children_leave_when_the_parent_is_gone(then: str, by_signal: signal.Signals | None) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(then=then)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        if by_signal is not None:
            assert all(map(is_running, pids))
            parent.send_signal(by_signal)
        parent.wait(30)
    left = wait_until_gone(pids)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []
