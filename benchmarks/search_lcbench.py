"""How far from the best is what a search finds on LCBench with the epochs of 20 whole trainings? probe beside its peers.

    python benchmarks/search_lcbench.py --data DIR [--tasks NAME ..] [--seeds 0 1 ..] [--methods NAME ..] [--slots 1 4 ..]
                                        [--out CSV] [--table CSV] [--markdown FILE] [--processes N]

DIR holds YAHPO Gym's surrogate of LCBench, `model.onnx`, and `tasks.json`: the data sets to search on, by name, and the number
that the network knows each by. 7 hyperparameters, at most 52 epochs a trial, 1,040 in all. What counts is the best validation
accuracy that a search has seen: regret 0 is the best of 4,000 random configurations trained to the end, 1 is their median.

Methods: the peers of lcbench_peers.py; `probe`, whose recipe leaves sampler and ladder to probe; `probe-<sampler>`. `probe@4`
runs four trials at a time, in simulated time and for the same epochs; --slots 1 4 does so for all of ours.
Searches that are in --out already are not made again. Extra: pip install '.[bench]'; DEHB is not in it, since it needs NumPy 1:
an environment that has it runs all of this, too. SMAC repeats itself only where PYTHONHASHSEED is fixed.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
from lcbench_ours import OURS, our_method, with_slots
from lcbench_peers import PEERS, Search
from lcbench_surrogate import (
    EPOCHS_A_TRIAL,
    EPOCHS_IN_ALL,
    MODEL_FILE,
    TASKS_FILE,
    Ledger,
    Reference,
    Surrogate,
    read_tasks,
    reference_of,
)
from lcbench_tables import MARKS, regret_column, tables

from probe.version import VERSION

DEFAULT_METHODS = ("probe", *PEERS)
PACKAGES = ("optuna", "smac", "dehb")
COLUMNS = ("method", "task", "seed", "trials", "epochs", "seconds")
Row = dict[str, str | int | float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSuggested:
    """One search."""

    method: str
    task: str
    seed: int


def search_of(method: str) -> Search:
    ours = our_method(method)
    return PEERS[method].search if ours is None else ours.search


def make_row(
    asked: TrialSuggested, accuracies: Sequence[float], reference: Reference, *, num_trials: int, seconds: float
) -> Row:
    """A line of the CSV: regret and best accuracy so far at each mark."""
    best = list(accumulate(accuracies, max))
    row: Row = {"method": asked.method, "task": asked.task, "seed": asked.seed, "trials": num_trials}
    row |= {"epochs": len(best), "seconds": seconds}
    for mark in MARKS:
        accuracy = best[min(len(best), max(1, round(mark * EPOCHS_IN_ALL))) - 1]
        row |= {regret_column(mark): reference.regret(accuracy), f"acc_{mark:g}": accuracy}
    return row


def run_one(asked: TrialSuggested, folder: Path) -> Row:
    """One search from its beginning. Its seconds are processor time, as others may have the core meanwhile; those of the first
    search in a process include imports."""
    reference = _reference(folder, asked.task)
    search, ledger = search_of(asked.method), Ledger(curves=Surrogate(folder=folder, task=asked.task))
    started = time.process_time()
    num_trials = search(asked.task, asked.seed, ledger)
    seconds = time.process_time() - started
    return make_row(asked, ledger.accuracies, reference, num_trials=num_trials, seconds=seconds)


@cache
def _reference(folder: Path, task: str) -> Reference:
    return reference_of(Surrogate(folder=folder, task=task))


def limit_threads() -> None:
    """Of the libraries that are loaded; the environment has done it for those that are not yet."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def run_all(asked: Sequence[TrialSuggested], folder: Path, *, processes: int, out: Path | None) -> list[Row]:
    """The rows in the order in which they came, each in `out` as soon as it is there."""
    rows: list[Row] = []
    with ProcessPoolExecutor(processes, mp_context=get_context("fork"), initializer=limit_threads) as pool:
        waiting = [pool.submit(run_one, one, folder) for one in asked]
        for future in as_completed(waiting):
            row = future.result()
            rows.append(row)
            if out is not None:
                append_row(out, row)
            print(row_line(row), file=sys.stderr, flush=True)
    return rows


def append_row(path: Path, row: Row) -> None:
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


def read_rows(path: Path) -> pd.DataFrame:
    """A CSV of this benchmark."""
    return pd.read_csv(path, dtype={"task": str})


def row_line(row: Mapping[str, str | int | float]) -> str:
    regrets = " ".join(f"{float(row[regret_column(mark)]):.3f}" for mark in MARKS)
    return (
        f"{row['method']}, {row['task']}, seed {row['seed']}: regret {regrets} "
        f"({row['trials']} trials, {row['epochs']} epochs, {float(row['seconds']):.1f} s)"
    )


def what_is_missing(folder: Path | None) -> str | None:
    """A sentence where there is nothing to search on."""
    if folder is None or not all((folder / name).is_file() for name in (MODEL_FILE, TASKS_FILE)):
        return f"Skipped: --data must be a folder that holds {MODEL_FILE} and {TASKS_FILE}; {folder} is not."
    if find_spec("onnxruntime") is None:
        return "Skipped: the surrogate needs the package onnxruntime (pip install onnxruntime)."
    return None


def usable(methods: Sequence[str]) -> list[str]:
    """Those whose packages are there; a sentence about each of the others."""
    found = []
    for name in methods:
        missing = None if our_method(name) else PEERS[name].missing
        if missing is None:
            found.append(name)
        else:
            print(f"{name} is left out: it {missing}.", file=sys.stderr)
    return found


def at_slots(methods: Sequence[str], slots: Sequence[int] | None) -> list[str]:
    """Every method once, ours with each number of slots where they are given."""
    named = [
        name
        for method in methods
        for name in ([with_slots(method, number) for number in slots] if slots and method in OURS else [method])
    ]
    return list(dict.fromkeys(named))


def preface(rows: pd.DataFrame) -> list[str]:
    return [
        "# Searching on LCBench's surrogate",
        "",
        f"`python benchmarks/search_lcbench.py` with probe {VERSION}{_versions()}.",
        f"{rows['task'].nunique()} data sets, seeds {', '.join(map(str, sorted(rows['seed'].unique())))}; "
        f"{EPOCHS_IN_ALL:,} epochs a search, at most {EPOCHS_A_TRIAL} a trial.",
        "Regret 0 is the best of 4,000 random configurations trained to the end, 1 is their median; below 0 is better than all",
        "of them. Seconds are processor time of a whole search, on one thread; the trainings cost next to none of it.",
        "",
    ]


def _versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return "".join(f", {text}" for text in found)


def parse_arguments(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, help=f"the folder with {MODEL_FILE} and {TASKS_FILE}")
    parser.add_argument("--tasks", nargs="+", help=f"some of the names in {TASKS_FILE}; all by default")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--methods", nargs="+", default=list(DEFAULT_METHODS), help="by default: %(default)s")
    parser.add_argument("--slots", nargs="+", type=int, help="trials at a time, of our methods")
    parser.add_argument("--out", type=Path, help="append each search to this CSV, and leave out those that it has")
    parser.add_argument("--table", type=Path, help="only print the tables of this CSV")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    parser.add_argument("--processes", type=int, default=1, help="of one thread each")
    return parser.parse_args(arguments), parser


def searches(args: argparse.Namespace, parser: argparse.ArgumentParser) -> list[TrialSuggested]:
    """Seed by seed and data set by data set, so that an interrupted benchmark has whole pairs."""
    if args.slots and min(args.slots) < 1:
        parser.error("--slots must be 1 or more")
    unknown = [name for name in args.methods if name not in PEERS and our_method(name) is None]
    if unknown:
        known = ", ".join((*OURS, *PEERS))
        parser.error(f"no such methods: {', '.join(unknown)}; there are: {known}, and ours with @SLOTS behind")
    known_tasks = read_tasks(args.data)
    strange = [name for name in args.tasks or () if name not in known_tasks]
    if strange:
        parser.error(f"no such tasks: {', '.join(strange)}; {TASKS_FILE} has: {', '.join(known_tasks)}")
    methods = at_slots(usable(args.methods), args.slots)
    tasks = args.tasks or list(known_tasks)
    return [
        TrialSuggested(method=method, task=task, seed=seed)
        for seed in args.seeds
        for task in tasks
        for method in methods
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    args, parser = parse_arguments(arguments)
    if args.table is None:
        missing = what_is_missing(args.data)
        if missing is not None:
            print(missing)
            return
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        asked = searches(args, parser)
        known = read_rows(args.out) if args.out is not None and args.out.exists() else pd.DataFrame(columns=COLUMNS)
        done = set(zip(known["method"], known["task"], known["seed"], strict=True))
        left = [one for one in asked if (one.method, one.task, one.seed) not in done]
        new = run_all(left, args.data, processes=args.processes, out=args.out)
        rows = pd.DataFrame(new) if known.empty else pd.concat([known, pd.DataFrame(new)])
    else:
        rows = read_rows(args.table)
    if rows.empty:
        print("There is no search to compare.")
        return
    lines = tables(rows)
    print("\n".join(lines))
    if args.markdown is not None:
        args.markdown.write_text("\n".join([*preface(rows), *lines, ""]))


if __name__ == "__main__":
    main()
