"""Searches on Ray: what the driver costs beside the rungs, and what is left of a search when a node or the driver is killed.

    python benchmarks/ray_scaling.py [--runs 20] [--rungs 1000] [--parts overhead idle nodes frozen drivers] [--markdown FILE]

Overhead and idle share: a real study (space, ladder, search.sqlite on the disk) on two workers of this machine, by Ray
(`local:2`) and by the local executor one after the other, both warm: each worker has imported PyTorch and trained before the
clock runs. For the overhead, rungs report their epochs and train nothing; for the idle share they train, and sleep. Ideal
seconds are those of the rungs, as their workers measured them, divided by the slots; all else is overhead: the disk's part,
the study's, and the end of the search, where one slot has nothing left to do.

Storms: two nodes of a core each (ray.cluster_utils) on this machine, `python -m probe search RECIPE --ray HOST:PORT`, and
SIGKILL at a random moment between the search's second row and about 85 % of its rows: for the second node, raylet and
workers at once, or for the driver, which is then resumed at once. Ray needs its head, so that one is never killed. What is
said is read from search.sqlite, and from a ledger that the jobs themselves write. Every fourth storm over a driver is
deterministic and compared with the same search on this machine without Ray, left alone. Linux only.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "search"))

from quick_job import quick_rung
from ray_storms import DriverKill, NodeKill, RayStorms, cluster_environment, ray_storms

from probe.device.select import DeviceSpec
from probe.search import executors
from probe.search.algorithms import make_sampler
from probe.search.cluster_records import ClusterUse
from probe.search.database import SearchDatabase
from probe.search.events import Ended, Event
from probe.search.executor import Executor
from probe.search.executors import LocalExecutor
from probe.search.jobs import RungJob, Split, checkpoint_path
from probe.search.objective import Objective
from probe.search.ray_terms import parse_ray_address, plan_slots
from probe.search.records import BudgetLimits, Dimension
from probe.search.space import Space
from probe.search.state import Trial
from probe.search.study import Study
from probe.search.study_plan import StudyPlan, new_state
from probe.version import VERSION
from probe.zoo.source import TargetSource

PARTS = ("overhead", "idle", "nodes", "frozen", "drivers")
HEADINGS = ("The driver's part", "A node is killed", "A node no longer answers", "The driver is killed, and resumed")
EXECUTORS = ("Ray, local:2", "local processes")
NUM_SLOTS = 2
SPACE = Space(dimensions=(Dimension(name="lr", kind="float", low=1e-4, high=1.0, log=True),), constants={})
RUNGS_A_TRIAL = 13 / 9
"""A ladder by thirds of three rungs."""
IDLE_RUNGS = ((1.0, 30), (3.0, 10))
"""Seconds of a rung, and how many of them."""
DETERMINISTIC_EVERY = 4
HEALTH_CHECKS: dict[str, dict[str, int]] = {
    "Ray's own: five of 10 s, 3 s apart": {},
    "three of 1 s, 1 s apart (`RAY_health_check_...`)": {"period_ms": 1000, "timeout_ms": 1000, "failure_threshold": 3},
}
MOST_OVERHEAD_MS, MOST_IDLE, MOST_NOTICE_SECONDS = 20.0, 0.05, 5.0
"""What is promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    num_rungs: int
    seconds: float
    rung_seconds: float
    """Sum, by their workers' clocks."""
    driver_seconds: float
    """The driver's processor time."""

    @property
    def overhead_ms(self) -> float:
        return 1000 * (self.seconds - self.rung_seconds / NUM_SLOTS) / self.num_rungs

    @property
    def idle_share(self) -> float:
        return 1 - self.rung_seconds / (NUM_SLOTS * self.seconds)


def study_on(
    executor: Executor, folder: Path, *, num_trials: int, rungs: tuple[int, ...], epoch_seconds: float
) -> Measured:
    """A study with its file and its checkpoints in `folder`; its epochs are asleep for so long, and take one step."""
    plan = StudyPlan(
        space=SPACE,
        objective=Objective(metric="accuracy", mode="max"),
        rungs=rungs,
        factor=3,
        limits=BudgetLimits(trials=num_trials),
        seed=0,
    )

    def make_job(trial: Trial, epochs_from: int, epochs_to: int) -> RungJob:
        return RungJob(
            number=trial.number,
            source=TargetSource(target="paused_task:blobs"),
            params={**trial.params, "batch_size": 160, "pause": 10 * epoch_seconds},  # a tenth of it a step
            seed=trial.seed,
            split=Split(share=0.2, seed=0),
            device=DeviceSpec(kind="cpu"),
            planned_epochs=rungs[-1],
            epochs_from=epochs_from,
            epochs_to=epochs_to,
            checkpoint_in=checkpoint_path(folder, trial.number, epochs_from) if epochs_from else None,
            checkpoint_out=checkpoint_path(folder, trial.number, epochs_to) if epochs_to < rungs[-1] else None,
        )

    ends: list[Ended] = []

    def sink(event: Event) -> None:
        database.append(event, time.monotonic())
        if isinstance(event, Ended):
            ends.append(event)

    folder.mkdir()
    with SearchDatabase.create(folder / "search.sqlite", {"name": "scaling"}) as database:
        study = Study(
            plan,
            new_state(plan),
            sampler=make_sampler("random", SPACE, mode="max", seed=0),
            executor=executor,
            make_job=make_job,
            discard=lambda trial, epochs: checkpoint_path(folder, trial.number, epochs).unlink(missing_ok=True),
            sink=sink,
        )
        started, cpu = time.monotonic(), time.process_time()
        study.run()
        seconds, driver_seconds = time.monotonic() - started, time.process_time() - cpu
    outcomes = {end.outcome for end in ends}
    if outcomes != {"finished"}:
        raise RuntimeError(f"rungs ended otherwise than they should: {outcomes}: {[end.message for end in ends][-1]}")
    return Measured(
        num_rungs=len(ends),
        seconds=seconds,
        rung_seconds=sum(end.seconds for end in ends),
        driver_seconds=driver_seconds,
    )


@contextmanager
def executor_of(name: str, folder: Path) -> Iterator[Executor]:
    """With two workers that are warm."""
    opened = _on_ray(folder) if name == EXECUTORS[0] else LocalExecutor(NUM_SLOTS, num_threads=1)
    with opened as executor:
        study_on(executor, folder / "warm", num_trials=6 * NUM_SLOTS, rungs=(1, 3), epoch_seconds=0.05)
        yield executor


@contextmanager
def _on_ray(folder: Path) -> Iterator[Executor]:
    from probe.search.ray_census import look_at_nodes
    from probe.search.ray_cluster import connected
    from probe.search.ray_executor import RayExecutor

    address = parse_ray_address(f"local:{NUM_SLOTS}")
    with connected(address):
        nodes = look_at_nodes(folder)
        plan = plan_slots([node.size for node in nodes], num_workers=None, on_gpu=False)
        use = ClusterUse(
            address=address.text,
            nodes=tuple(node.facts for node in nodes),
            num_slots=plan.num_slots,
            cpus_per_job=plan.cpus_per_job,
            gpus_per_job=None,
            storage=str(folder),
        )
        executor = RayExecutor(nodes, plan, use=use, num_threads=1)
        try:
            yield executor
        finally:
            executor.close()


@contextmanager
def training_nothing() -> Iterator[None]:
    """Both executors run `quick_rung` inside, where they would train."""
    from probe.search import ray_executor

    with (
        patch.object(executors, "train_in_worker", quick_rung),
        patch.object(ray_executor, "train_in_worker", quick_rung),
    ):
        yield


def driver_costs(num_rungs: int, *, parts: Sequence[str]) -> list[str]:
    """The tables of overhead and idle share, each executor's rows beside the other's."""
    rows: dict[str, list[str]] = {"overhead": [], "idle": []}
    said: list[str] = []
    for name in EXECUTORS:
        with tempfile.TemporaryDirectory() as temporary, executor_of(name, Path(temporary)) as executor:
            folder = Path(temporary)
            if "overhead" in parts:
                trials = max(2, round(num_rungs / RUNGS_A_TRIAL))
                with training_nothing():
                    found = study_on(executor, folder / "many", num_trials=trials, rungs=(1, 3, 9), epoch_seconds=0.0)
                rows["overhead"].append(
                    f"| {name} | {found.num_rungs:,} | {found.seconds:.1f} s | "
                    f"{1000 * found.rung_seconds / found.num_rungs:.2f} ms | {found.overhead_ms:.1f} ms | "
                    f"{NUM_SLOTS * found.overhead_ms:.1f} ms | {1000 * found.driver_seconds / found.num_rungs:.1f} ms |"
                )
                said += _verdict(
                    name, f"overhead {found.overhead_ms:.1f} ms a rung", "20 ms", found.overhead_ms < MOST_OVERHEAD_MS
                )
            for seconds, count in IDLE_RUNGS if "idle" in parts else ():
                found = study_on(
                    executor, folder / f"idle-{seconds}", num_trials=count, rungs=(1,), epoch_seconds=seconds
                )
                rows["idle"].append(
                    f"| {name} | {seconds:.0f} s | {found.num_rungs} | {found.seconds:.1f} s | {100 * found.idle_share:.1f} % |"
                )
                said += _verdict(
                    name, f"idle {100 * found.idle_share:.1f} % at {seconds:.0f} s", "5 %", found.idle_share < MOST_IDLE
                )
            print(*rows["overhead"][-1:], *rows["idle"], sep="\n", flush=True)
    lines = [f"## {HEADINGS[0]}", "", f"Two workers; {_machine()}.", ""]
    if rows["overhead"]:
        lines += [
            "| executor | rungs | study | a rung's own time | overhead a rung | a slot's wait between two rungs "
            "| driver's processor time a rung |",
            "|---|--:|--:|--:|--:|--:|--:|",
            *rows["overhead"],
            "",
        ]
    if rows["idle"]:
        lines += [
            "| executor | a rung sleeps | rungs | study | idle share of the slots |",
            "|---|--:|--:|--:|--:|",
            *rows["idle"],
            "",
        ]
    return [*lines, *said, ""]


def node_storm(storms: RayStorms, num_runs: int) -> list[NodeKill]:
    found: list[NodeKill] = []
    with suppress(KeyboardInterrupt):  # Ctrl-C: the table of what there is
        for seed in range(num_runs):
            with tempfile.TemporaryDirectory() as name:
                found.append(storms.kill_node(Path(name), seed=seed))
            print(seed, found[-1], flush=True)
    return found


def node_table(found: Sequence[NodeKill]) -> list[str]:
    notices = [kill.notice_seconds for kill in found if kill.notice_seconds is not None]
    agains = [kill.again_seconds for kill in found if kill.again_seconds is not None]
    histories = [kill.history for kill in found]
    unfinished, finished_again = (
        sum(getattr(history, name) for history in histories) for name in ("num_unfinished", "num_finished_again")
    )
    lines = [
        f"## {HEADINGS[1]}",
        "",
        f"Two nodes of one core; {_machine()}.",
        "",
        "| searches | trials | not finished | kills while a job ran there | rungs lost, at most and in all "
        "| finished rungs begun again "
        "| jobs sent to the dead node | loss noticed after | its rung runs elsewhere after |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        f"| {len(found)} | {sum(history.num_trials for history in histories)} | {unfinished} | "
        f"{sum(kill.had_job for kill in found)} | {max(history.num_crashes for history in histories)}, "
        f"{sum(history.num_crashes for history in histories)} | {finished_again} | "
        f"{sum(kill.on_dead_node for kill in found)} | {_spread(notices)} | {_spread(agains)} |",
        "",
        *_verdict("every trial finishes", f"{unfinished} unfinished", "0", unfinished == 0),
        *_verdict("no finished rung is repeated", f"{finished_again} repeated", "0", finished_again == 0),
        *_verdict(
            "the loss is noticed",
            f"after {max(notices, default=0.0):.2f} s at most",
            "5 s",
            max(notices, default=0.0) < MOST_NOTICE_SECONDS,
        ),
        "",
    ]
    return lines


def frozen_nodes() -> list[str]:
    """A storm over a node that stops without closing a connection, with Ray's own health checks and with shorter ones."""
    found: dict[str, NodeKill] = {}
    for label, checks in HEALTH_CHECKS.items():
        environment = {f"RAY_health_check_{name}": str(value) for name, value in checks.items()}
        with patch.dict(os.environ, environment), ray_storms() as storms, tempfile.TemporaryDirectory() as name:
            found[label] = storms.kill_node(Path(name), seed=0, frozen=True)
        print(label, found[label], flush=True)
    return frozen_table(found)


def frozen_table(found: Mapping[str, NodeKill]) -> list[str]:
    rows = [
        f"| {label} | {'nothing ran there' if kill.notice_seconds is None else f'{kill.notice_seconds:.1f} s'} "
        f"| {kill.history.num_trials} | {kill.history.num_unfinished} | {kill.history.num_crashes} "
        f"| {kill.history.num_finished_again} |"
        for label, kill in found.items()
    ]
    return [
        f"## {HEADINGS[2]}",
        "",
        "Raylet and workers are stopped (SIGSTOP), as by a cut cable: no connection is closed, and the head declares the node",
        "dead only when it has missed Ray's health checks.",
        "",
        "| health checks, from the environment of the head | loss noticed after | trials | not finished | rungs lost "
        "| finished ones begun again |",
        "|---|--:|--:|--:|--:|--:|",
        *rows,
        "",
    ]


def driver_storm(storms: RayStorms, num_runs: int) -> list[DriverKill]:
    found: list[DriverKill] = []
    with suppress(KeyboardInterrupt):
        for seed in range(num_runs):
            with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
                whole = None if seed % DETERMINISTIC_EVERY else storms.leave_alone(Path(one), seed=seed)
                found.append(storms.kill_driver(Path(other), seed=seed, whole=whole))
            print(seed, found[-1], flush=True)
    return found


def driver_table(found: Sequence[DriverKill]) -> list[str]:
    histories = [kill.history for kill in found]
    lost = sum(kill.num_lost for kill in found)
    strays = sum(history.num_strays + history.num_finished_again for history in histories)
    unfinished = sum(history.num_unfinished for history in histories)
    compared = [kill.differs for kill in found if kill.differs is not None]
    lines = [
        f"## {HEADINGS[3]}",
        "",
        f"Two nodes of one core, deterministic searches on one of them; {_machine()}.",
        "",
        "| searches | trials | not finished | rows acknowledged | lost | rows that came twice or from nowhere "
        "| rungs rolled back, at most | deterministic searches, that decided otherwise | dead driver's jobs ended after "
        "| first row of the next driver after |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        f"| {len(found)} | {sum(history.num_trials for history in histories)} | {unfinished} | "
        f"{sum(kill.num_acknowledged for kill in found)} | {lost} | {strays} | "
        f"{max(history.num_rolled_back for history in histories)} | {len(compared)}, {sum(compared)} | "
        f"{_spread([kill.orphan_seconds for kill in found])} | {_spread([kill.restart_seconds for kill in found])} |",
        "",
        *_verdict("nothing acknowledged is lost", f"{lost} rows", "0", lost == 0),
        *_verdict("no event twice, every trial finishes", f"{strays} and {unfinished}", "0", strays == unfinished == 0),
        *_verdict(
            "deterministic searches decide alike", f"{sum(compared)} of {len(compared)} differ", "0", not any(compared)
        ),
        "",
    ]
    return lines


def write_section(path: Path, preface: str, section: str) -> None:
    """Into the file of the tables, in place of the one of the same heading."""
    known = path.read_text().split("\n## ")[1:] if path.exists() else []
    sections = {text.partition("\n")[0]: text.strip() for text in [*known, section.removeprefix("## ")]}
    kept = [f"## {sections[heading]}\n" for heading in HEADINGS if heading in sections]
    path.write_text("\n".join([preface, *kept]))


def _verdict(what: str, found: str, promised: str, holds: bool) -> list[str]:
    return [f"- {what}: {found} (promised: {promised}): {'holds' if holds else '**does not hold**'}."]


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} s (median), {max(seconds):.2f} s at most" if seconds else "-"


def _machine() -> str:
    load = os.getloadavg()[0]
    return f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} at the end"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="searches in each storm")
    parser.add_argument("--rungs", type=int, default=1_000, help="of the study whose overhead is measured, about")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file, after each part")
    options = parser.parse_args()
    os.environ.update(cluster_environment())
    import ray

    preface = [
        "# Searches on Ray",
        "",
        f"`python benchmarks/ray_scaling.py` with probe {VERSION}, Ray {ray.__version__}, Python {platform.python_version()}.",
        "",
    ]

    def add(lines: list[str]) -> None:
        print("\n".join(lines), flush=True)
        if options.markdown is not None:
            write_section(options.markdown, "\n".join(preface), "\n".join(lines))

    if {"overhead", "idle"} & set(options.parts):
        add(driver_costs(options.rungs, parts=options.parts))
    if "frozen" in options.parts:
        add(frozen_nodes())
    if {"nodes", "drivers"} & set(options.parts):
        with ray_storms() as storms:
            if "nodes" in options.parts:
                add(node_table(node_storm(storms, options.runs)))
            if "drivers" in options.parts:
                add(driver_table(driver_storm(storms, options.runs)))


if __name__ == "__main__":
    main()
