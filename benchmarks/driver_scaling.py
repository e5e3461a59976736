"""How many slots can one driver feed? Up to 1,000 of them and 20,000 rungs, with training that only a clock knows of.

    python benchmarks/driver_scaling.py [--slots 10 100 1000] [--rung-seconds 1 10 60 600] [--rungs 2000]
        [--headline-rungs 20000] [--samplers random tpe] [--markdown FILE]

Real studies (space, ladder, budget, state, search.sqlite on the disk, an observer) on an executor whose rungs take simulated
seconds. What the driver takes is real, and charged to the simulation: while it works for a millisecond, every slot's clock
goes on by a millisecond, and a slot whose rung is over stands idle until the driver comes to it. The driver's seconds are
those of the wall, the disk's included, less those in which it was ready and another process had the core (Linux's
schedstat), so that what else the machine does at the time is charged to nobody.

Not in it: what an executor takes to hand a job over and to take a report in (pickling, a pipe, Ray), and training, which
would share the driver's machine only where the search is on one. A rung's length is drawn evenly from half to one and a half
times the mean; a rung reports its epochs evenly. Shares are of the steady part of a search: from when every slot has had a
job until the last rung is asked for, before anything stops.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import resource
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driver_simulation import DriverClock, Parts, SimulatedCluster, TimedSampler
from search_overhead import SPACE, make_job

from probe.records_json import from_plain, to_plain
from probe.search.jobs.checkpoint_files import checkpoint_path
from probe.search.records.objective import Objective
from probe.search.records.search import BudgetLimits, SearchProgress
from probe.search.samplers.registry import make_sampler
from probe.search.storage.database import SearchDatabase
from probe.search.study.events import Event
from probe.search.study.plan import StudyHooks, StudyPlan, new_state
from probe.search.study.study import Study
from probe.units import format_bytes, format_seconds
from probe.version import VERSION

RUNGS = (1, 3, 9)


@dataclass(frozen=True, kw_only=True)
class Cell:
    sampler: str
    num_slots: int
    rung_seconds: float
    num_rungs: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of the steady part of one cell, but for the first and the last two."""

    cell: Cell
    fill_seconds: float
    """Simulated seconds until every slot had had its first job."""
    num_rungs: int
    num_rows: int
    simulated_seconds: float
    driver_seconds: float
    waiting_share: float
    """Of the slots' time, for the driver."""
    parts: Mapping[str, float]
    """The driver's seconds by what they went to; `rest` is all else."""
    peak_bytes: int
    file_bytes: int

    @property
    def rungs_per_second(self) -> float:
        """That the driver starts, new trials and promotions, when it has nothing else to wait for."""
        return self.num_rungs / self.driver_seconds

    @property
    def busy_share(self) -> float:
        return self.driver_seconds / self.simulated_seconds


def measure(cell: Cell) -> Measured:
    """One cell; in a process of its own, whose peak memory is this search's."""
    with tempfile.TemporaryDirectory(prefix="probe-scaling-") as name:
        folder = Path(name)
        path = folder / "search.sqlite"
        with SearchDatabase.create(path, {"name": "scaling"}) as database:
            cluster = run_study(cell, folder, database)
            file_bytes = path.stat().st_size + path.with_name("search.sqlite-wal").stat().st_size
    before, after = cluster.filled, cluster.last
    if before is None or after is None:
        raise AssertionError("the search ended before it was asked to")
    simulated, driver = after.simulated - before.simulated, after.driver - before.driver
    parts = {what: after.parts[what] - before.parts.get(what, 0.0) for what in after.parts}
    parts["rest"] = driver - sum(parts.values())
    return Measured(
        cell=cell,
        fill_seconds=before.simulated,
        num_rungs=after.num_submitted - before.num_submitted,
        num_rows=after.num_rows - before.num_rows,
        simulated_seconds=simulated,
        driver_seconds=driver,
        waiting_share=(after.idle_slot_seconds - before.idle_slot_seconds) / (cell.num_slots * simulated),
        parts=parts,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        file_bytes=file_bytes,
    )


def run_study(cell: Cell, folder: Path, database: SearchDatabase) -> SimulatedCluster:
    """Until it has started the cell's rungs."""
    parts = Parts(DriverClock())
    plan = StudyPlan(
        space=SPACE,
        objective=Objective(metric="accuracy", mode="max"),
        rungs=RUNGS,
        factor=3,
        limits=BudgetLimits(trials=cell.num_rungs + cell.num_slots),
        seed=0,
    )
    cluster = SimulatedCluster(cell.num_slots, rung_seconds=cell.rung_seconds, num_rungs=cell.num_rungs, parts=parts)
    shown: list[Any] = [None]

    def write(event: Event) -> None:
        with parts.of("row"):
            database.append(event, cluster.now)
        cluster.num_rows += 1

    def look(record: Any) -> None:
        """As the live view does between two pictures: it keeps the latest."""
        if isinstance(record, SearchProgress):
            shown[0] = record

    study = Study(
        plan,
        new_state(plan),
        sampler=TimedSampler(make_sampler(cell.sampler, SPACE, mode="max", seed=0), parts),
        executor=cluster,
        make_job=make_job,
        hooks=StudyHooks(
            discard=lambda trial, epochs: checkpoint_path(folder, trial.number, epochs).unlink(missing_ok=True),
            sink=write,
            observer=look,
            clock=lambda: cluster.now,
        ),
    )
    study.run()
    return cluster


HEADER = [
    "| sampler | slots | a rung | rungs | slots' wait | driver busy | decisions/s | rows/s "
    "| ask | rows | rest | all a rung | peak memory |",
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
]


def row(found: Measured) -> str:
    def per_rung(*names: str) -> str:
        seconds = sum(found.parts.get(name, 0.0) for name in names)
        return f"{1000 * seconds / max(1, found.num_rungs):.2f} ms"

    cells = [
        found.cell.sampler,
        f"{found.cell.num_slots:,}",
        f"{found.cell.rung_seconds:g} s",
        f"{found.num_rungs + found.cell.num_slots:,}",
        f"{100 * found.waiting_share:.2g} %" if found.waiting_share < 0.1 else f"{100 * found.waiting_share:.0f} %",
        f"{100 * found.busy_share:.1f} %",
        f"{found.rungs_per_second:,.0f}",
        f"{found.num_rows / found.driver_seconds:,.0f}",
        per_rung("ask", "tell"),
        per_rung("row"),
        per_rung("rest"),
        per_rung(*found.parts),
        format_bytes(found.peak_bytes),
    ]
    return f"| {' | '.join(cells)} |"


def saturation(found: Measured) -> str:
    """The shortest rungs with which one driver still feeds this many slots, by what it took for a rung."""
    rate = found.rungs_per_second
    fed = ", ".join(f"{slots:,} slots with rungs of {format_seconds(slots / rate)}" for slots in (10, 100, 1000))
    return (
        f"`{found.cell.sampler}`: {1000 / rate:.1f} ms of the driver a rung, so that it saturates at {rate:,.0f} rungs a "
        f"second: {fed}. The first {found.cell.num_slots:,} slots were filled after {format_seconds(found.fill_seconds)}; "
        f"search.sqlite had {format_bytes(found.file_bytes)}."
    )


def cells_of(args: argparse.Namespace) -> list[Cell]:
    """The widest cluster last for each sampler, and of it the headline."""
    found = []
    for sampler in args.samplers:
        for num_slots, seconds in itertools.product(args.slots, args.rung_seconds):
            is_headline = num_slots == max(args.slots) and seconds == args.headline_seconds
            num_rungs = args.headline_rungs if is_headline else max(args.rungs, 3 * num_slots)
            found.append(Cell(sampler=sampler, num_slots=num_slots, rung_seconds=seconds, num_rungs=num_rungs))
    return found


def read_cells(path: Path | None) -> dict[Cell, Measured]:
    """Those measured before."""
    lines = path.read_text().splitlines() if path is not None and path.exists() else []
    found = [from_plain(Measured, json.loads(line)) for line in lines]
    return {one.cell: one for one in found}


def in_own_process(function: Callable[[Cell], Measured], cell: Cell) -> Measured:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, (cell,))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samplers", nargs="+", default=["random", "tpe"])
    parser.add_argument("--slots", nargs="+", type=int, default=[10, 100, 1000])
    parser.add_argument("--rung-seconds", nargs="+", type=float, default=[1.0, 10.0, 60.0, 600.0])
    parser.add_argument("--rungs", type=int, default=2000, help="of a cell; at least three times its slots")
    parser.add_argument("--headline-seconds", type=float, default=60.0, help="length of the headline's rungs")
    parser.add_argument(
        "--headline-rungs", type=int, default=20_000, help="of the cell with the most slots and that length"
    )
    parser.add_argument("--cells", type=Path, help="keep every cell in this file, and measure only those that it lacks")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    args = parser.parse_args()
    lines, told = [*HEADER], []
    print("\n".join(lines), flush=True)
    known = read_cells(args.cells)
    for cell in cells_of(args):
        found = known.get(cell) or in_own_process(measure, cell)
        if args.cells and cell not in known:
            with args.cells.open("a") as file:
                file.write(json.dumps(to_plain(found)) + "\n")
        lines.append(row(found))
        print(lines[-1], flush=True)
        if cell.num_slots == max(args.slots) and cell.rung_seconds == args.headline_seconds:
            told.append(f"- {saturation(found)}")
        if args.markdown:
            write_page(args.markdown, lines, told)
    print("\n".join(told))


def write_page(path: Path, lines: Sequence[str], told: Sequence[str]) -> None:
    preface = [
        "# How many slots one driver feeds",
        "",
        f"`python benchmarks/driver_scaling.py` with probe {VERSION}, {machine()}.",
        *PREFACE,
        "",
    ]
    path.write_text("\n".join([*preface, *lines, "", "## Where it saturates", "", *told, "", *LIFTS, ""]))


PREFACE = [
    "The executor is simulated, the driver is real, and its time is charged to the simulation; handing jobs over is not in",
    "it.",
    "",
    "Slots' wait: the share of their time in which they were free and the driver had not come to them yet. Driver busy: its",
    "share of the time that went by. Decisions (new trials and promotions) and rows of search.sqlite: in each second in",
    "which it was busy. Ask (the sampler's, with its tell), rows (until the disk has them) and rest: its time for each rung,",
    "which has a decision, 1.6 reports of an epoch on average, and an end. Peak memory: of the driver's whole process.",
]
LIFTS = [
    "A driver that is busy all the time is saturated: more slots, or shorter rungs, only make slots wait. What would lift it:",
    "",
    "- with `random`, one commit for all that a poll brought: each of a rung's four rows waits for the disk on its own now;",
    "- with `tpe`, several asks from one model: it looks at every trial that runs, and at up to 750 finished ones, for each;",
    "- with either, longer rungs (a higher `min` of the fidelity), or several searches side by side with a file each.",
]


def machine() -> str:
    """In the words of the other tables, and how busy it was: the driver's clock leaves that out, its caches cannot."""
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
