"""Storms of kills over searches: drivers with scripted jobs, forked, so that a kill costs milliseconds; and real ones.

python storms.py FOLDER [--resume]    # what a real storm kills: a deterministic search in FOLDER/run, with real training
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from made_recipes import digits_recipe
from stored_searches import decisions, num_repeated_rungs, stored_events, work_on

from probe.search.find import find_hyperparameters
from probe.search.records.search import DATABASE_FILE, SearchResult
from probe.search.study.events import Event

MOST_SECONDS = 180.0
"""For one process of a real search, on a busy machine."""


@dataclass
class Storm:
    """What one storm came to."""

    num_driver_kills: int = 0
    num_worker_kills: int = 0
    num_acknowledged: int = 0
    num_lost: int = 0
    """Rows that were acknowledged and are not in the file, or are others there."""
    num_checkpoints: int = 0
    """Looked at after a kill."""
    num_torn: int = 0
    restart_seconds: list[float] = field(default_factory=list)
    """From the start of a process to its first row."""
    events: list[Event] = field(default_factory=list)

    @property
    def most_repeated(self) -> int:
        """Rungs that had to be repeated after one kill, at most; there is one worker."""
        return max(num_repeated_rungs(self.events), default=0)

    def look(self, folder: Path, num_acknowledged: int) -> None:
        """At what a killed driver left, of whose rows at least so many were acknowledged."""
        found = _events_if_begun(folder)
        self.num_lost += max(0, num_acknowledged - len(found)) + (found[: len(self.events)] != self.events)
        self.events = found


MOST_ROWS_BEFORE_A_KILL = 8
"""Kills come after so many rows at most, not after a time, so that the load of the machine does not change their number."""


def scripted_storm(folder: Path, *, num_kills: int, seed: int, epoch_seconds: float = 0.002) -> Storm:
    """A search with scripted jobs whose driver is killed after random numbers of rows, and then left to finish."""
    storm = Storm()
    generator = random.Random(seed)
    while storm.num_driver_kills < num_kills:
        rows, delay = generator.randint(0, MOST_ROWS_BEFORE_A_KILL), generator.uniform(0.0, 2 * epoch_seconds)
        count, was_killed = _forked(folder, (rows, delay), epoch_seconds)
        storm.look(folder, len(storm.events) + count)
        storm.num_acknowledged += count
        storm.num_driver_kills += was_killed
        for path in (folder / "checkpoints").glob("trial-*.pt"):
            storm.num_checkpoints += 1
            storm.num_torn += len(set(_pieces(path.read_text(), 64))) != 1 or path.stat().st_size != 64_000
        if not was_killed:
            return storm
    count, was_killed = _forked(folder, None, epoch_seconds)
    storm.look(folder, len(storm.events) + count)
    storm.num_acknowledged += count
    return storm


def real_search(folder: Path, *, resume: bool = False) -> SearchResult:
    """A deterministic search with real training, in `folder`/run."""
    recipe = digits_recipe(
        space={"batch_size": 16, "lr": {"low": 1e-4, "high": 1.0, "log": True}, "width": {"low": 8, "high": 64}},
        search={"sampler": "tpe", "fidelity": {"min": 1, "max": 9, "factor": 3}},
        budget={"trials": 8},
        start=[],
    )
    return find_hyperparameters(recipe, device="cpu", folder=folder / "run", resume=resume, deterministic=True)


def real_storm(folder: Path, *, victims: str, seed: int) -> Storm:
    """`real_search` in a process of its own; `victims` are killed one after the other, "d" the driver, "w" its
    worker, each after some more rows; then it is left to finish in `folder`/run."""
    from probe.training.checkpoint import (
        load_checkpoint,  # the driver, which is this file as well, goes without PyTorch
    )

    storm = Storm()
    generator = random.Random(seed)
    left = list(victims)
    is_over = False
    while not is_over:
        num_before = len(storm.events)
        with _start_search(folder, resume=num_before > 0) as driver:
            started = time.monotonic()
            seen, has_begun = num_before, False
            while left:
                seen = _wait_for_rows(folder, driver, max(seen, num_before + 1))
                if num_before and not has_begun:
                    storm.restart_seconds.append(time.monotonic() - started)
                has_begun = True
                target = left.pop(0)
                seen = _wait_for_rows(folder, driver, seen + generator.randint(2, 12))
                time.sleep(generator.uniform(0.0, 0.05))
                if target == "w":
                    storm.num_worker_kills += send_all(children(driver.pid))
                    continue
                driver.kill()
                storm.num_driver_kills += 1
                break
            is_over = driver.wait(MOST_SECONDS) == 0
            if not is_over and driver.returncode != -signal.SIGKILL:
                raise RuntimeError(
                    f"the search ended with {driver.returncode}: {driver.stderr and driver.stderr.read()}"
                )
        storm.look(folder / "run", seen)
        storm.num_acknowledged = len(storm.events)
        for path in (folder / "run" / "checkpoints").glob("trial-*.pt"):
            storm.num_checkpoints += 1
            load_checkpoint(path)
    return storm


def same_decisions(one: list[Event], other: list[Event]) -> bool:
    return decisions(one) == decisions(other)


def _forked(folder: Path, kill_after: tuple[int, float] | None, epoch_seconds: float) -> tuple[int, bool]:
    """Work on the search in a child process: rows acknowledged, and whether it was killed.

    It is killed the given number of seconds after the given number of rows; with None it works to the end.
    """
    news, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(news)
            work_on(folder, epoch_seconds=epoch_seconds, acknowledged=lambda: os.write(tells, b"."))
            status = 0
        finally:
            os._exit(status)
    os.close(tells)
    with os.fdopen(news, "rb", buffering=0) as stream:
        count = 0
        if kill_after is not None:
            num_rows, delay = kill_after
            while count < num_rows and stream.read(1):
                count += 1
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
        count += len(stream.read())
    _, status = os.waitpid(pid, 0)
    was_killed = os.WIFSIGNALED(status)
    if not was_killed and os.WEXITSTATUS(status):
        raise RuntimeError("a driver failed: its traceback is on standard error")
    return count, was_killed


def _start_search(folder: Path, *, resume: bool) -> subprocess.Popen[str]:
    here = Path(__file__)
    return subprocess.Popen(
        [sys.executable, str(here), str(folder), *(["--resume"] if resume else [])],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(here.parents[2])},
    )


def _wait_for_rows(folder: Path, driver: subprocess.Popen[str], number: int) -> int:
    """Until the file has so many events, or the driver is over."""
    deadline = time.monotonic() + MOST_SECONDS
    count = 0
    while count < number and driver.poll() is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"no {number} events after {MOST_SECONDS} s")
        time.sleep(0.01)
        count = max(count, num_rows(folder / "run"))
    return count


def num_rows(folder: Path) -> int:
    """Events in the file of a search that another process works on; none where there is no such file yet."""
    with suppress(sqlite3.Error):
        connection = sqlite3.connect(f"file:{folder / DATABASE_FILE}?mode=ro", uri=True)
        try:
            [count] = connection.execute("SELECT count(*) FROM events").fetchone()
            return int(count)
        finally:
            connection.close()
    return 0


def children(pid: int) -> list[int]:
    """Ids of the processes that it started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def send_all(pids: Iterable[int], number: signal.Signals = signal.SIGKILL) -> int:
    """A signal to each of these processes; how many of them there were."""
    found = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            found += 1
    return found


def _events_if_begun(folder: Path) -> list[Event]:
    return stored_events(folder) if _has_tables(folder / DATABASE_FILE) else []


def _has_tables(path: Path) -> bool:
    if not path.is_file():
        return False
    connection = sqlite3.connect(path)
    try:
        return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone())
    finally:
        connection.close()


def _pieces(text: str, length: int) -> Iterator[str]:
    return (text[start : start + length] for start in range(0, len(text), length))


if __name__ == "__main__":
    real_search(Path(sys.argv[1]), resume="--resume" in sys.argv)
