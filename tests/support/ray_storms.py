"""Storms over searches on a Ray cluster of two nodes on this machine: a node or the driver is killed at a random moment.

Drivers are started as users do: `python -m probe search RECIPE --ray HOST:PORT --out FOLDER`. Linux only.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray_clusters import add_node, cluster_environment, one_core_cluster
from ray_histories import History, history
from stored_searches import decisions, stored_events
from storms import children, num_rows, send_all

from probe.recipe.dump import dump_recipe
from probe.recipe.load import parse_recipe
from probe.search.study.events import Event, TrialEnded, TrialStarted, TrialSuggested

MOST_SECONDS = 240.0
"""Time limit of one process, on a busy machine."""
LOOK_SECONDS = 0.01
"""Time between two reads of the file of a search."""
LAST_ROW_SHARE = 0.85
"""Kills come before this fraction of the rows of a search without interruption."""
LEDGER = "ledger.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSize:
    num_trials: int = 10
    epoch_seconds: float = 0.25
    """Nearly all of it is sleep, so that nodes on one machine do not slow each other down."""

    @property
    def least_rows(self) -> int:
        """Least number of rows: each trial is suggested, starts, reports an epoch and ends."""
        return 4 * self.num_trials


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKill:
    """A search with a killed node."""

    history: History
    exit_code: int
    had_job: bool
    """Whether a job of the search was running on the node."""
    notice_seconds: float | None
    """Time from the kill until the file had the row of the lost job; None if no job was lost."""
    again_seconds: float | None
    """Time from the kill until the lost rung had started in another process."""
    on_dead_node: int
    """Number of jobs that started on the node after the kill, according to the ledger."""
    seconds: float
    """Time of the whole process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverKill:
    """A search whose driver was killed, and which was resumed by another process."""

    history: History
    exit_code: int
    num_acknowledged: int
    """Number of rows in the file after the driver died."""
    num_lost: int
    """Number of these rows that are missing or different at the end."""
    orphan_seconds: float
    """Time from the kill until all jobs of the dead driver had ended."""
    restart_seconds: float
    """Time from the start of the next process to its first row."""
    differs: bool | None
    """Whether its decisions differ from those of a search without interruption; None if it was not deterministic."""


@dataclass(slots=True)
class _Job:
    """A line of the ledger, written by the process of a job."""

    at: float
    pid: int
    node: str
    mark: float


@dataclass
class RayStorms:
    """A cluster of two nodes with one core each, for one storm after the other. Storms kill the second node,
    since Ray needs the head."""

    cluster: Any
    size: SearchSize = field(default_factory=SearchSize)
    node: Any = None

    def kill_node(self, folder: Path, *, seed: int, frozen: bool = False) -> NodeKill:
        """Run a search in `folder`/run, and kill its second node at a random moment. If `frozen`, the node stops instead
        without closing its connections, so that only Ray's health checks notice."""
        self._have_two_nodes()
        generator = random.Random(seed)
        started = time.monotonic()
        with self._driver(folder, seed=seed) as driver:
            seen = self._wait_for_moment(folder, driver, generator)
            node, self.node = self.node, None
            running = _running(stored_events(folder / "run"))
            killed_at = self._stop(node, frozen=frozen)
            try:
                _watch(folder, driver, seen)
            finally:
                if frozen:
                    self._stop(node, frozen=False)
        found, jobs, node_id = stored_events(folder / "run"), _jobs(folder), str(node.node_id)
        losses = {
            at: event.number
            for at, event in zip(seen, found, strict=False)
            if isinstance(event, TrialEnded) and event.report.outcome == "crashed"
        }
        marks = _marks(found)
        lost = {marks[number] for number in losses.values()}
        again = [job.at for job in jobs if job.at > killed_at and job.mark in lost]
        last_on = {job.mark: job.node for job in jobs if job.at < killed_at}
        return NodeKill(
            history=history(found),
            exit_code=driver.returncode,
            had_job=bool(losses) or any(last_on.get(marks[number]) == node_id for number in running),
            notice_seconds=max(losses) - killed_at if losses else None,
            again_seconds=min(again) - killed_at if again else None,
            on_dead_node=sum(job.node == node_id and job.at > killed_at for job in jobs),
            seconds=time.monotonic() - started,
        )

    def kill_driver(self, folder: Path, *, seed: int, whole: Sequence[Event] | None = None) -> DriverKill:
        """Run a search in `folder`/run, kill its driver at a random moment, and resume it at once. `whole` has the events of
        the deterministic search with the same seed; with None, the search is not deterministic."""
        self._have_two_nodes()
        generator = random.Random(seed)
        with self._driver(folder, seed=seed, deterministic=whole is not None) as driver:
            self._wait_for_moment(folder, driver, generator)
            driver.kill()
            killed_at = time.monotonic()
            driver.wait()
        acknowledged = stored_events(folder / "run")
        orphans = {job.pid for job in _jobs(folder)}
        gone_at = killed_at

        def look() -> None:
            nonlocal gone_at
            for pid in [pid for pid in orphans if not _is_alive(pid)]:
                orphans.discard(pid)
                gone_at = time.monotonic()

        seen = [0.0] * len(acknowledged)
        look()
        restarted = time.monotonic()
        with self._driver(folder, seed=seed, deterministic=whole is not None, resume=True) as driver:
            _watch(folder, driver, seen, look)
        found = stored_events(folder / "run")
        return DriverKill(
            history=history(found),
            exit_code=driver.returncode,
            num_acknowledged=len(acknowledged),
            num_lost=sum(one != other for one, other in zip(acknowledged, found, strict=False))
            + max(0, len(acknowledged) - len(found)),
            orphan_seconds=float("inf") if orphans else gone_at - killed_at,
            restart_seconds=seen[len(acknowledged)] - restarted if len(seen) > len(acknowledged) else float("nan"),
            differs=None if whole is None else decisions(list(whole)) != decisions(found),
        )

    def leave_alone(self, folder: Path, *, seed: int) -> list[Event]:
        """Run the deterministic search in `folder`/run without Ray and without interruption."""
        with self._driver(folder, seed=seed, deterministic=True, on_ray=False) as driver:
            _watch(folder, driver, [])
        return stored_events(folder / "run")

    def close(self) -> None:
        """Remove the second node."""
        if self.node is not None:
            self.cluster.remove_node(self.node)
            self.node = None

    def _have_two_nodes(self) -> None:
        if self.node is None:
            self.node = add_node(self.cluster)

    def _stop(self, node: Any, *, frozen: bool) -> float:
        """Stop the raylet of a node and its workers at once, as if their machine were gone. Returns the time."""
        raylet = node.all_processes["raylet"][0].process.pid
        pids = [raylet, *children(raylet)]
        stopped_at = time.monotonic()
        send_all(pids, signal.SIGSTOP if frozen else signal.SIGKILL)
        if not frozen:
            self.cluster.remove_node(node, allow_graceful=False)
        return stopped_at

    def _wait_for_moment(self, folder: Path, driver: subprocess.Popen[str], generator: random.Random) -> list[float]:
        """Wait for a random row of the search, and a random part of an epoch more. Returns when each row was seen."""
        number = generator.randint(2, int(LAST_ROW_SHARE * self.size.least_rows))
        seen: list[float] = []
        _watch(folder, driver, seen, until=lambda: len(seen) >= number)
        time.sleep(generator.uniform(0.0, self.size.epoch_seconds))
        return seen

    @contextmanager
    def _driver(
        self, folder: Path, *, seed: int, deterministic: bool = False, resume: bool = False, on_ray: bool = True
    ) -> Iterator[subprocess.Popen[str]]:
        recipe = folder / "recipe.toml"
        recipe.write_text(_recipe_text(self.size, seed), encoding="utf-8")
        command = [sys.executable, "-m", "probe", "search", str(recipe)]
        command += ["--ray", self.cluster.address] * on_ray
        command += ["--out", str(folder / "run"), "--device", "cpu", "--quiet"]
        command += ["--deterministic"] * deterministic + ["--resume"] * resume
        with (folder / "stderr.txt").open("a") as errors:
            driver = subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
                cwd=folder,
                env=cluster_environment(),
            )
            try:
                yield driver
            finally:
                driver.kill()
                driver.wait()
        if driver.returncode not in (0, -signal.SIGKILL):
            text = (folder / "stderr.txt").read_text()
            raise RuntimeError(f"the search ended with {driver.returncode}: {text[-4000:]}")


@contextmanager
def ray_storms(size: SearchSize | None = None) -> Iterator[RayStorms]:
    """A cluster for storms, whose second node is started when it is needed."""
    with one_core_cluster() as cluster:
        yield RayStorms(cluster, size or SearchSize())


def _recipe_text(size: SearchSize, seed: int) -> str:
    content: dict[str, Any] = {
        "schema": 1,
        "name": "storm",
        "task": {"target": "paused_task:blobs", "objective": {"metric": "accuracy", "mode": "max"}},
        "space": {
            "lr": {"low": 1e-4, "high": 1.0, "log": True},
            "mark": {"low": 0.0, "high": 1.0},
            "pause": size.epoch_seconds,
            "ledger": LEDGER,  # in the working directory of drivers and jobs
        },
        "search": {"sampler": "tpe", "seed": seed, "fidelity": {"min": 1, "max": 9, "factor": 3}},
        "budget": {"trials": size.num_trials},
    }
    return dump_recipe(parse_recipe(content, where="made"))


def _watch(
    folder: Path,
    driver: subprocess.Popen[str],
    seen: list[float],
    look: Callable[[], object] = lambda: None,
    *,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Note when each row of the search appeared, until the driver ends or `until` is true."""
    deadline = time.monotonic() + MOST_SECONDS
    while not until():
        is_over = driver.poll() is not None
        count = num_rows(folder / "run")
        seen += [time.monotonic()] * (count - len(seen))
        look()
        if is_over:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"{len(seen)} rows after {MOST_SECONDS:.0f} s: {(folder / 'stderr.txt').read_text()[-2000:]}"
            )
        time.sleep(LOOK_SECONDS)


def _running(events: Sequence[Event]) -> set[int]:
    found: set[int] = set()
    for event in events:
        if isinstance(event, TrialStarted):
            found.add(event.number)
        elif isinstance(event, TrialEnded):
            found.discard(event.number)
    return found


def _marks(events: Sequence[Event]) -> dict[int, float]:
    return {event.number: float(event.params["mark"]) for event in events if isinstance(event, TrialSuggested)}


def _jobs(folder: Path) -> list[_Job]:
    path = folder / LEDGER
    lines = path.read_text().splitlines() if path.exists() else []
    return [_Job(**json.loads(line)) for line in lines]


def _is_alive(pid: int) -> bool:
    """Whether a process is alive. A zombie is not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
