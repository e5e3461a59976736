"""What does a search itself cost beside the training? Trials that train nothing, up to 10,000 of them.

    python benchmarks/search_overhead.py [--trials 10000] [--samplers random gp tpe qmc] [--resume random] [--asks]
                                         [--markdown FILE]

Real studies (space, ladder, budget, state, search.sqlite) with an executor that answers at once. Times are medians over the
last tenth of the first 100, 1,000 and 10,000 trials: what grows with the search shows, and what else the machine does at the
time does not. A decision is everything between a free slot and a submitted job, of a new trial or a promotion; a report is
everything that one epoch's or one rung's news sets off. The sampler's part (Optuna's) and the row of the file, which the disk
has when it is written, are measured at their doors and shown apart.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import time
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ask_costs import PEER
from ask_costs import rows as ask_rows

from probe.device.select import DeviceSpec
from probe.loading.records import ValidationSplit
from probe.search.jobs.jobs import JobEnd, JobEpoch, JobEvent, RungJob, RungReport
from probe.search.records.objective import Objective
from probe.search.records.search import BudgetLimits, Dimension, ParamValue
from probe.search.samplers.protocol import Sampler, Verdict
from probe.search.samplers.registry import make_sampler
from probe.search.space.space import Positions, Space
from probe.search.storage.database import SearchDatabase
from probe.search.study.events import Event
from probe.search.study.plan import StudyHooks, StudyPlan, new_state
from probe.search.study.study import Study
from probe.search.study.trial import Trial
from probe.seeds import derive_seed
from probe.tasks.source import TargetSource
from probe.training.records import EpochReport
from probe.version import VERSION

MARKS = (100, 1_000, 10_000)
SPACE = Space(
    dimensions=(
        Dimension(name="lr", kind="float", low=1e-5, high=1.0, log=True),
        Dimension(name="optimizer", kind="choices", choices=("sgd", "adam", "rmsprop")),
        Dimension(name="batch_size", kind="pow2", low=16.0, high=256.0),
        Dimension(name="layers", kind="int", low=1.0, high=3.0),
        Dimension(name="width", kind="pow2", low=8.0, high=32.0),
        Dimension(name="dropout", kind="float", low=0.0, high=0.5),
        Dimension(name="weight_decay", kind="float", low=1e-6, high=0.1, log=True),
        Dimension(name="activation", kind="choices", choices=("relu", "gelu", "tanh")),
    ),
    constants={},
)
RUNGS = (1, 3, 9)


@dataclass
class Clocks:
    """How long each thing took, in seconds, in order."""

    taken: dict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    elsewhere: float = 0.0
    """In the sampler and the file in all, so that what calls them can leave it out."""

    def add(self, what: str, started: float, *, without: float = 0.0) -> None:
        self.taken[what].append(time.perf_counter() - started - without)


class TimedSampler:
    """A sampler with a clock at its door."""

    exhausted = False

    def __init__(self, sampler: Sampler, clocks: Clocks) -> None:
        self.name = sampler.name
        self._sampler = sampler
        self._clocks = clocks

    def ask(self, number: int, *, at: Positions | None = None) -> dict[str, ParamValue]:
        started = time.perf_counter()
        positions = self._sampler.ask(number, at=at)
        self._clocks.add("ask", started)
        self._clocks.elsewhere += time.perf_counter() - started
        return positions

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        started = time.perf_counter()
        self._sampler.tell(number, verdict, value)
        self._clocks.add("tell", started)
        self._clocks.elsewhere += time.perf_counter() - started

    def discard(self, number: int) -> None:
        self._sampler.discard(number)


class TimedRows:
    """The search's file with a clock at its door."""

    def __init__(self, database: SearchDatabase, clocks: Clocks) -> None:
        self._database = database
        self._clocks = clocks

    def __call__(self, event: Event) -> None:
        started = time.perf_counter()
        self._database.append(event, started)
        self._clocks.add("row", started)
        self._clocks.elsewhere += time.perf_counter() - started


class NoTraining:
    """An executor whose jobs are over as soon as they are submitted; how good a trial is follows from its number."""

    num_slots = 1

    def __init__(self) -> None:
        self._events: list[JobEvent] = []

    def submit(self, job: RungJob) -> None:
        quality = derive_seed(0, job.number, "quality") / 2**63
        for epoch in range(job.epochs_from + 1, job.epochs_to + 1):
            value = quality * (1 - 0.5**epoch)
            report = EpochReport(epoch=epoch, train_loss=1.0, val_loss=1.0, metrics={"accuracy": value}, seconds=0.0)
            self._events.append(JobEpoch(number=job.number, report=report))
        self._events.append(JobEnd(number=job.number, report=RungReport(outcome="finished", seconds=0.0)))

    def poll(self, timeout_seconds: float) -> list[JobEvent]:
        events, self._events = self._events, []
        return events

    def places(self) -> dict[int, str]:
        return {}

    def cancel(self) -> None: ...
    def close(self) -> None: ...


class TimedStudy(Study):
    """A study that times its own decisions and what it does with reports, without its sampler's and its file's time."""

    clocks: Clocks

    def _next_job(self) -> tuple[Trial, int] | None:
        started, before = time.perf_counter(), self.clocks.elsewhere
        found = super()._next_job()
        what = "new trial" if found is not None and found[1] == 0 else "promotion"
        self.clocks.add(what, started, without=self.clocks.elsewhere - before)
        return found

    def _handle(self, event: JobEvent) -> None:
        started, before = time.perf_counter(), self.clocks.elsewhere
        super()._handle(event)
        what = "report" if isinstance(event, JobEpoch) else "end of rung"
        self.clocks.add(what, started, without=self.clocks.elsewhere - before)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Where a study stood when a trial was asked for."""

    num_trials: int
    counts: dict[str, int]
    """Of everything that was timed until then."""
    resident_bytes: int


def plan_for(num_trials: int) -> StudyPlan:
    return StudyPlan(
        space=SPACE,
        objective=Objective(metric="accuracy", mode="max"),
        rungs=RUNGS,
        factor=3,
        limits=BudgetLimits(trials=num_trials),
        seed=0,
    )


def run_study(sampler: str, num_trials: int, folder: Path) -> tuple[Clocks, dict[int, Reading]]:
    """One study; readings at nine tenths of every mark and at the mark. `folder` gets its file."""
    clocks, plan = Clocks(), plan_for(num_trials)
    wanted = {share * mark // 10 for mark in MARKS for share in (9, 10)}
    readings: dict[int, Reading] = {}

    def observe(record: Any) -> None:
        count = len(study.state.trials)
        if count in wanted and count not in readings:
            gc.collect()
            readings[count] = Reading(
                num_trials=count,
                counts={what: len(taken) for what, taken in clocks.taken.items()},
                resident_bytes=resident_bytes(),
            )

    with SearchDatabase.create(folder / f"{sampler}-{num_trials}.sqlite", {"name": "overhead"}) as database:
        study = TimedStudy(
            plan,
            new_state(plan),
            sampler=TimedSampler(make_sampler(sampler, SPACE, mode="max", seed=0), clocks),
            executor=NoTraining(),
            make_job=make_job,
            hooks=StudyHooks(sink=TimedRows(database, clocks), observer=observe),
        )
        study.clocks = clocks
        study.run()
    return clocks, readings


def resume_seconds(sampler: str, num_trials: int, folder: Path) -> float:
    """From a search's file to a study that goes on where it was: the file looked through and read, every event learned."""
    path = folder / f"{sampler}-{num_trials}.sqlite"
    if not path.exists():
        run_study(sampler, num_trials, folder)
    plan = plan_for(num_trials)
    started = time.perf_counter()
    with SearchDatabase.open(path, to_write=True) as database:
        study = Study(
            plan,
            new_state(plan),
            sampler=make_sampler(sampler, SPACE, mode="max", seed=0),
            executor=NoTraining(),
            make_job=make_job,
        )
        study.replay(database.events())
        taken = time.perf_counter() - started
    if len(study.state.trials) != num_trials:
        raise AssertionError(f"{len(study.state.trials)} trials came back of {num_trials}")
    return taken


def resident_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def make_job(trial: Trial, epochs_from: int, epochs_to: int) -> RungJob:
    return RungJob(
        number=trial.number,
        source=TargetSource(target="nobody:builds_this"),
        params=trial.params,
        seed=trial.seed,
        split=ValidationSplit(fraction=0.2, seed=0),
        device=DeviceSpec(kind="cpu"),
        planned_epochs=RUNGS[-1],
        epochs_from=epochs_from,
        epochs_to=epochs_to,
        checkpoint_in=None,
        checkpoint_out=None,
    )


COLUMNS = ("new trial", "promotion", "report", "end of rung", "row", "ask", "tell")


def rows(sampler: str, clocks: Clocks, readings: dict[int, Reading]) -> list[str]:
    """One line of the table for every mark that was reached."""
    lines = []
    for mark in MARKS:
        before, after = readings.get(9 * mark // 10), readings.get(mark)
        if before is None or after is None:
            continue
        first = readings[min(readings)]
        growth = (after.resident_bytes - first.resident_bytes) / max(1, mark - first.num_trials)
        medians = [
            microseconds(clocks.taken[what][before.counts.get(what, 0) : after.counts.get(what, 0)]) for what in COLUMNS
        ]
        cells = [sampler, f"{mark:,}", *medians, "" if mark == MARKS[0] else f"{growth / 1024:.1f} KiB"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def microseconds(taken: Sequence[float]) -> str:
    return f"{1e6 * statistics.median(taken):,.0f} us" if taken else ""


HEADER = [
    "| sampler | at trial | new trial | promotion | report | end of rung | a row | sampler's ask | and tell | memory a trial |",
    "|---|---|---|---|---|---|---|---|---|---|",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=MARKS[-1])
    parser.add_argument("--samplers", nargs="+", default=["random", "gp", "tpe", "qmc"])
    parser.add_argument(
        "--resume", choices=["random", "tpe", "qmc"], help="also time going on from files of this sampler's"
    )
    parser.add_argument("--asks", action="store_true", help="also time asks alone, beside Optuna's Gaussian process")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="probe-overhead-") as name:
        measure(args, Path(name))


def measure(args: argparse.Namespace, folder: Path) -> None:
    """Print the table, and write it where that is asked for."""
    lines = [*HEADER]
    print("\n".join(lines), flush=True)
    for sampler in args.samplers:
        found = rows(sampler, *run_study(sampler, args.trials, folder))
        print("\n".join(found), flush=True)
        lines += found
        if args.markdown:
            write(args.markdown, lines, args.trials)
    if args.asks:
        asks = ask_rows(["gp", "tpe", PEER], SPACE, MARKS[:2])
        print("\n".join(["", *asks]))
        lines += ["", *asks]
        if args.markdown:
            write(args.markdown, lines, args.trials)
    if args.resume:
        resumed = [(mark, resume_seconds(args.resume, mark, folder)) for mark in MARKS if mark <= args.trials]
        said = ", ".join(f"{1000 * seconds:,.0f} ms for {mark:,} trials" for mark, seconds in resumed)
        lines += ["", f"Going on from the file of a search with `{args.resume}`, until its next decision: {said}."]
        print(lines[-1])
        if args.markdown:
            write(args.markdown, lines, args.trials)


def write(path: Path, lines: Sequence[str], num_trials: int) -> None:
    preface = [
        "# What a search costs beside its training",
        "",
        f"`python benchmarks/search_overhead.py` with probe {VERSION}, {num_trials:,} trials that train nothing.",
        "Medians over the last tenth before each mark. New trial, promotion, report and end of rung are probe's own part.",
        "Taken out of them and shown beside them: a row of search.sqlite until the disk has it (a new trial writes two, the",
        "others one each), and the sampler's ask and tell. Memory: growth of the process since trial 90 for each trial, its",
        "records included.",
        "",
    ]
    path.write_text("\n".join([*preface, *lines, ""]))


if __name__ == "__main__":
    main()
