"""Signals during real runs. The first one leaves a whole report and no child process, a second one ends the run at once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_tools import environment, fill, read_result, start_probe

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at child processes in /proc")

BEST = """
schema = 1
name = "blobs"
[task]
target = "clitask:task"
objective = { metric = "accuracy", mode = "max" }
[space]
batch_size = 16
lr = 0.1
width = 4
[search]
fidelity = { min = 1, max = 3, factor = 3 }
[budget]
trials = 2
"""

RUNS = {
    "lr": (["lr", "--task", "clitask:task", "--steps", "1000000"], "step 50 of"),
    "search": (
        ["search", "blobs.toml", "--trials", "100000", "--workers", "1", "--set", "search.fidelity.max=100"],
        "trial 0 after",
    ),
    "batch": (["batch", "--model", "cnn", "--img", "32", "--device", "simulated:2GiB", "--start", "2"], "batch 2"),
    "train": (["train", "best.toml", "--epochs", "1000000", "--device", "cpu"], "epoch 2 of"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path)
    (tmp_path / "best.toml").write_text(BEST, encoding="utf-8")
    return tmp_path


@contextlib.contextmanager
def started(*args: str, folder: Path, until: str) -> Iterator[subprocess.Popen[str]]:
    """A run that has printed `until` to stderr. It is killed if the test fails."""
    with start_probe(*args, folder=folder) as running:
        try:
            _read_until(running, until)
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("lr", signal.SIGHUP),
        ("batch", signal.SIGINT),
        ("search", signal.SIGINT),
        ("search", signal.SIGTERM),
        ("train", signal.SIGTERM),
    ],
    ids=lambda part: getattr(part, "name", part),
)
def test_interrupted_run_leaves_a_partial_report(kind: str, number: signal.Signals, folder: Path) -> None:
    args, first_news = RUNS[kind]
    with started(*args, folder=folder, until=first_news) as running:
        children = _children(running.pid)
        running.send_signal(number)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 128 + number, err
    result = read_result(folder)
    assert result["stopped_by"] == "interrupted"
    assert out.startswith("Answer")
    [run] = (folder / "reports").iterdir()
    assert "Partial result" in (run / "report.md").read_text()
    assert kind in ("lr", "train") or children
    if kind == "search":
        assert "--resume" in out
    if kind == "train":
        assert (run / "weights.safetensors").stat().st_size > 0
        assert len(result["reports"]) >= 2
    _wait_until_gone(children)


def test_interrupt_before_anything_is_measured_leaves_nothing(folder: Path) -> None:
    _append(folder, "\nimport sys, time\nprint('waiting', file=sys.stderr, flush=True)\ntime.sleep(60)\n")
    for number in (signal.SIGINT, signal.SIGTERM):
        with started("lr", "--task", "clitask:task", folder=folder, until="waiting") as running:
            running.send_signal(number)
            _, err = running.communicate(timeout=60)
        assert running.returncode == 128 + number
        assert "Interrupted" in err
        assert ("SIGTERM" in err) == (number == signal.SIGTERM)
        assert "Traceback" not in err
        assert not list(folder.glob("reports/*"))


def test_a_signal_that_is_sent_twice_at_once_counts_once(folder: Path) -> None:
    """As `timeout` and a closed terminal do."""
    args, first_news = RUNS["train"]
    with started(*args, folder=folder, until=first_news) as running:
        for _ in range(20):
            running.send_signal(signal.SIGHUP)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGHUP, err
    assert read_result(folder)["stopped_by"] == "interrupted"


@pytest.mark.parametrize(("first", "second"), [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)])
def test_second_signal_ends_the_run_at_once(first: signal.Signals, second: signal.Signals, folder: Path) -> None:
    """Also if the polite end hangs, here inside of one call of a function in C."""
    _append(
        folder,
        """
def hangs():
    import hashlib, sys, time
    try:
        print('waiting', file=sys.stderr, flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print('caught', file=sys.stderr, flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
""",
    )
    with started("lr", "--task", "clitask:hangs", folder=folder, until="waiting") as running:
        running.send_signal(first)
        _read_until(running, "caught")
        deadline = time.monotonic() + 60
        while running.poll() is None:
            assert time.monotonic() < deadline
            running.send_signal(second)
            time.sleep(0.1)
    assert running.returncode == 128 + second


def test_a_closed_terminal_leaves_a_partial_report(folder: Path) -> None:
    """The kernel sends SIGHUP, and nothing can be printed any more."""
    args, _ = RUNS["train"]
    master, slave = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "probe", *args],
        cwd=folder,
        env=environment(TERM="xterm"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    try:
        os.close(slave)
        shown = b""
        while b" left" not in shown:  # the live view estimates the time once an epoch is complete
            shown += os.read(master, 1000)
        os.close(master)
        running.wait(60)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 128 + signal.SIGHUP
    assert read_result(folder)["stopped_by"] == "interrupted"
    [run] = (folder / "reports").iterdir()
    assert "Partial result" in (run / "report.md").read_text()


def test_hangup_that_is_ignored_at_the_start_stays_ignored(folder: Path) -> None:
    args, first_news = RUNS["train"]
    script = f"trap '' HUP; exec {sys.executable} -m probe {' '.join(args)}"
    command = ["/bin/sh", "-c", script]
    with subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True) as running:
        try:
            _read_until(running, first_news)
            running.send_signal(signal.SIGHUP)
            for _ in range(3):
                _read_until(running, "epoch ")
            running.send_signal(signal.SIGTERM)
            running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 128 + signal.SIGTERM
    assert read_result(folder)["stopped_by"] == "interrupted"


def test_signals_to_workers_do_not_end_their_trials(folder: Path) -> None:
    """Slurm and systemd send signals to every process of a job."""
    args, first_news = RUNS["search"]
    with started(*args, folder=folder, until=first_news) as running:
        children = _children(running.pid)
        for child in children:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                os.kill(child, number)
        _read_until(running, "trial ")
        assert all(_is_running(child) for child in children)
        running.send_signal(signal.SIGTERM)
        for child in children:
            os.kill(child, signal.SIGTERM)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM, err
    assert {trial["status"] for trial in read_result(folder)["trials"]} <= {"completed", "stopped", "cancelled"}
    _wait_until_gone(children)


def test_a_signal_to_the_workers_of_a_data_loader_as_well(folder: Path) -> None:
    """PyTorch raises an error if such a worker dies."""
    code = (folder / "clitask.py").read_text(encoding="utf-8")
    (folder / "clitask.py").write_text(code.replace('name="two blobs"', 'name="two blobs", num_workers=2'))
    args, first_news = RUNS["train"]
    with started(*args, folder=folder, until=first_news) as running:
        for number in [running.pid, *_children(running.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGTERM)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM, err
    assert len(read_result(folder)["reports"]) >= 2


def test_an_interrupt_that_python_ignores_is_raised_again(folder: Path) -> None:
    """An exception in `__del__` is ignored."""
    _append(
        folder,
        """
import sys, time
class Slow:
    def __del__(self):
        print('deleting', file=sys.stderr, flush=True)
        time.sleep(60)
num_calls = 0
class Model(nn.Linear):
    def forward(self, inputs):
        global num_calls
        num_calls += 1
        if num_calls == 100:
            Slow()
        return super().forward(inputs)
def deletes():
    return probe.Task(
        model=lambda: Model(4, 2), train=(torch.randn(96, 4), torch.arange(96) % 2), batch_size=16, optimizer="sgd",
        metrics={"accuracy": "accuracy"})
""",
    )
    best = BEST.replace("clitask:task", "clitask:deletes").replace("width = 4\n", "")
    (folder / "best.toml").write_text(best, encoding="utf-8")
    args, _ = RUNS["train"]
    with started(*args, folder=folder, until="deleting") as running:
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM, err
    assert read_result(folder)["stopped_by"] == "interrupted"


def test_interrupt_while_the_report_is_drawn_lets_it_be_finished(folder: Path) -> None:
    with started("lr", "--task", "clitask:task", "--steps", "60", folder=folder, until="step 50 of") as running:
        _wait_for(lambda: bool(list(folder.glob("reports/*/result.json"))))
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM, err
    assert out.startswith("Answer")
    [run] = (folder / "reports").iterdir()
    assert json.loads((run / "result.json").read_text())["stopped_by"] == "finished"
    assert "Partial result" not in (run / "report.md").read_text()
    assert not list(run.glob(".*"))


def _append(folder: Path, code: str) -> None:
    with (folder / "clitask.py").open("a", encoding="utf-8") as file:
        file.write(code)


def _read_until(running: subprocess.Popen[str], text: str) -> None:
    """Read stderr up to the next line with `text`."""
    assert running.stderr is not None
    printed = ""
    while text not in printed:
        line = running.stderr.readline()
        assert line, f"probe ended before {text!r}: {printed}"
        printed += line


def _children(pid: int) -> list[int]:
    """Process ids of all descendants."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found


def _wait_until_gone(pids: list[int]) -> None:
    _wait_for(lambda: not any(map(_is_running, pids)), seconds=10)


def _wait_for(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
