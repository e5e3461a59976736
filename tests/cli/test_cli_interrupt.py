"""Ctrl-C during a real run leaves a partial report and no child process; the exit code is 130."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from cli_tools import fill, read_result, start_probe

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at child processes in /proc")

RUNS = {
    "lr": (["lr", "--task", "clitask:task", "--steps", "2000000"], "step 50 of"),
    "search": (
        ["search", "blobs.toml", "--trials", "100000", "--workers", "1", "--set", "search.fidelity.max=100"],
        "trial 0 after",
    ),
    "batch": (["batch", "--model", "cnn", "--img", "32", "--device", "simulated:2GiB", "--start", "2"], "batch 2"),
}


@pytest.mark.parametrize("kind", RUNS)
def test_interrupted_run_leaves_a_partial_report(kind: str, tmp_path: Path) -> None:
    fill(tmp_path)
    args, first_news = RUNS[kind]
    running = start_probe(*args, folder=tmp_path)
    assert running.stdout is not None
    assert running.stderr is not None
    printed = ""
    while first_news not in printed:
        line = running.stderr.readline()
        assert line, f"probe ended before the interrupt: {printed}"
        printed += line
    children = _children(running.pid)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    result = read_result(tmp_path)
    assert result["stopped_by"] == "interrupted"
    assert out.startswith("Answer")
    [folder] = (tmp_path / "reports").iterdir()
    assert "Partial result" in (folder / "report.md").read_text()
    assert kind == "lr" or children
    _wait_until_gone(children)


def test_interrupt_before_anything_is_measured_leaves_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    with (tmp_path / "clitask.py").open("a") as file:
        file.write("\nimport sys, time\nprint('waiting', file=sys.stderr, flush=True)\ntime.sleep(60)\n")
    running = start_probe("lr", "--task", "clitask:task", folder=tmp_path)
    assert running.stderr is not None
    assert running.stderr.readline() == "waiting\n"
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Interrupted." in err
    assert "Traceback" not in err
    assert not list(tmp_path.glob("reports/*"))


def _children(pid: int) -> list[int]:
    """Process ids of all descendants."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found


def _wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(_is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still running: {pids}"
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
