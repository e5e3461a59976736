"""Storms of signals over the commands that measure: drivers are forks of this process, which has imported PyTorch."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO

import psutil
from cli_tools import fill
from stored_searches import decisions, stored_events
from storms import MOST_SECONDS, num_rows

from probe.search.records.search import DATABASE_FILE
from probe.search.study.events import Event, TrialEnded, TrialStarted

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
POLITE = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}
"""Signals after which a command writes what it has, and its exit code."""
RUN = "run"
TINY = """schema = 1
name = "storm"
[task]
model = "mlp"
data = "digits"
num_train = 200
objective = { metric = "accuracy", mode = "max" }
[space]
batch_size = 32
lr = { low = 1e-3, high = 0.1, log = true }
width = { choices = [8, 16] }
[search]
sampler = "tpe"
fidelity = { min = 1, max = 9, factor = 3 }
[budget]
trials = 8
"""
SEARCH = ("search", "storm.toml", "--deterministic", "--device", "cpu", "--out", RUN)
COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "train": (("train", "one.toml", "--epochs", "100000", "--device", "cpu", "--out", RUN), "epoch "),
    "lr": (("lr", "--task", "clitask:task", "--steps", "1000000", "--out", RUN), "range test: step"),
    "batch": (
        ("batch", "--model", "cnn", "--img", "32", "--device", "simulated:2GiB", "--start", "2", "--out", RUN),
        "batch ",
    ),
}
"""Command -> a command line that takes long, and the beginning of a line that says that something was measured."""
MOST_LINES, MOST_ROWS = 6, 12
ORPHAN_SECONDS = 20.0
CLOCK_SECONDS = 0.1
"""How far the time of a file may be behind the clock."""


@dataclass
class Storm:
    """What the kills of one kind came to."""

    num_kills: Counter[str] = field(default_factory=Counter)
    """`driver` or `worker`, and the signal -> number."""
    num_polite: int = 0
    """Drivers that could write what they had."""
    num_reports: int = 0
    """Of those, whole reports."""
    wrong_codes: list[str] = field(default_factory=list)
    num_rows: int = 0
    """Rows that were on the disk before a kill."""
    num_lost: int = 0
    num_orphans: int = 0
    num_killed_twice: int = 0
    """Searches with a rung whose worker got SIGKILL twice: they decide otherwise by design, as for a lack of memory."""
    num_different: int = 0
    """Other searches that decided otherwise than one without a kill."""

    def count(self, victim: str, number: signal.Signals) -> None:
        self.num_kills[f"{victim} {number.name}"] += 1

    def add(self, other: Storm) -> None:
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    def judge(self, folder: Path, number: signal.Signals, code: int, *, since: float) -> None:
        """The end of a driver that got a signal at the time `since`."""
        expected = POLITE.get(number, -number)
        if code != expected:
            self.wrong_codes.append(f"{number.name} {code}")
        if number in POLITE:
            self.num_polite += 1
            self.num_reports += has_report(folder / RUN, since=since)


def has_report(run: Path, *, since: float) -> bool:
    """Whether the run has a whole result and its page, both written after the time `since`, and, of a training, its weights."""
    try:
        if min((run / name).stat().st_mtime for name in ("result.json", "report.md")) < since:
            return False
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    weights = result.get("weights_file")
    return result["stopped_by"] == "interrupted" and (
        result["kind"] != "train" or (weights is not None and (run / weights).stat().st_size > 0)
    )


@dataclass
class Driver:
    """A command in a process of its own."""

    pid: int
    lines: IO[str]
    """Its standard error."""
    last: str = ""
    """The last line that was read."""

    def wait_for(self, start: str, number: int) -> bool:
        """Read lines until so many contain `start`; False if the command ends before."""
        while number and (line := self.lines.readline()):
            number -= start in line
            self.last = line
        return not number

    def end(self) -> int:
        """Its exit code; negative for a signal."""
        self.lines.read()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextmanager
def started(args: tuple[str, ...], folder: Path) -> Iterator[Driver]:
    from probe.cli.main import main

    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        code: object = 1
        try:
            os.chdir(folder)
            os.dup2(writes, 2)
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False, encoding="utf-8") for number in (1, 2))
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.argv, sys.path = ["probe", *args], [str(folder), *sys.path]
            main()
        except SystemExit as error:
            code = error.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 0)
    os.close(writes)
    with os.fdopen(reads, errors="replace") as lines:
        yield Driver(pid, lines)


def descendants(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def num_running(processes: list[psutil.Process]) -> int:
    """How many of these still run after a while."""
    _, alive = psutil.wait_procs(processes, timeout=ORPHAN_SECONDS)
    return sum(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in alive)


def command_storm(command: str, folder: Path, *, num_kills: int, seed: int) -> Storm:
    """A new run for each kill of its driver, after random numbers of lines about measurements."""
    storm, generator = Storm(), random.Random(seed)
    args, news = COMMANDS[command]
    for kill in range(num_kills):
        place = folder / f"{command}-{kill}"
        place.mkdir()
        fill(place)
        (place / "one.toml").write_text(
            TINY.replace("{ low = 1e-3, high = 0.1, log = true }", "0.05").replace("{ choices = [8, 16] }", "8")
        )
        number = generator.choice(SIGNALS)
        with started(args, place) as driver:
            if not driver.wait_for(news, generator.randint(1, MOST_LINES)):
                raise RuntimeError(f"{command} ended before it was killed: {driver.last}")
            processes = descendants(driver.pid)
            since = time.time() - CLOCK_SECONDS
            os.kill(driver.pid, number)
            code = driver.end()
        storm.count("driver", number)
        storm.judge(place, number, code, since=since)
        storm.num_orphans += num_running(processes)
    return storm


def search_storm(folder: Path, whole: list[Event], *, num_kills: int, seed: int) -> Storm:
    """One deterministic search whose driver and workers get signals after random numbers of rows, and that is resumed until
    it has ended. `whole` are the events of the same search without a signal."""
    storm, generator = Storm(), random.Random(seed)
    (folder / "storm.toml").write_text(TINY)
    events: list[Event] = []
    resume: tuple[str, ...] = ()
    left = num_kills
    while True:
        with started((*SEARCH, *resume), folder) as driver:
            sent, seen, since = None, len(events), 0.0
            while left and sent is None:
                seen = _wait_for_rows(folder / RUN, driver, seen + generator.randint(2, MOST_ROWS))
                processes = descendants(driver.pid)
                if _has_ended(driver):
                    break
                left -= 1
                number, victim = generator.choice(SIGNALS), generator.choice(("driver", "worker"))
                storm.count(victim, number)
                if victim == "driver":
                    since = time.time() - CLOCK_SECONDS
                    os.kill(driver.pid, number)
                    sent = number
                for process in processes if victim == "worker" else ():
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(number)
            processes = descendants(driver.pid)
            code = driver.end()
        storm.num_orphans += num_running(processes)
        found = stored_events(folder / RUN)
        storm.num_rows += seen - len(events)
        storm.num_lost += max(0, seen - len(found)) + (found[: len(events)] != events)
        events, resume = found, ("--resume",)
        if sent is None:
            storm.wrong_codes += [] if code == 0 else [f"none {code}"]
            if was_killed_twice(events):
                storm.num_killed_twice += 1
            else:
                storm.num_different += decisions(events) != decisions(whole)
            return storm
        storm.judge(folder, sent, code, since=since)


def was_killed_twice(events: list[Event]) -> bool:
    """Whether signal 9 ended two jobs of one rung of a trial."""
    rungs: dict[int, int] = {}
    kills: Counter[tuple[int, int]] = Counter()
    for event in events:
        if isinstance(event, TrialStarted):
            rungs[event.number] = event.rung
        elif isinstance(event, TrialEnded) and event.report.outcome == "host_oom":
            kills[event.number, rungs[event.number]] += 1
    return max(kills.values(), default=0) > 1


def whole_search(folder: Path) -> list[Event]:
    """The events of the search without a signal."""
    (folder / "storm.toml").write_text(TINY)
    with started(SEARCH, folder) as driver:
        if code := driver.end():
            raise RuntimeError(f"the search ended with {code}")
    return stored_events(folder / RUN)


def _wait_for_rows(run: Path, driver: Driver, number: int) -> int:
    """Until the file has so many events, or the driver has ended; how many it has."""
    deadline = time.monotonic() + MOST_SECONDS
    while (count := num_rows(run) if (run / DATABASE_FILE).is_file() else 0) < number and not _has_ended(driver):
        if time.monotonic() > deadline:
            raise RuntimeError(f"no {number} events after {MOST_SECONDS} s")
        time.sleep(0.01)
    return count


def _has_ended(driver: Driver) -> bool:
    return os.waitid(os.P_PID, driver.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
