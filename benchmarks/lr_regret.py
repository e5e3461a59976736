"""Fraction of the achievable loss reduction that a suggested learning rate gives up: probe's three depths and other finders.

    python benchmarks/lr_regret.py [--seeds 3] [--tasks NAME ..] [--processes 2] [--markdown FILE]

Each finder suggests a learning rate for every task of `lr_tasks.py` and every seed. The oracle runs whole trainings of every
task at 25 learning rates with other seeds. Its results are stored in `results/lr_oracle.json` by the fingerprint of the task;
missing ones are computed. Definitions, as usual in optimization:

    L(lr)   final validation loss (mean of four evaluations in the last 15 % of the training), mean over the oracle's seeds;
            L0 if the training diverged or is worse than L0; linear in log10(lr) between grid points
    L0      the smaller of the initial loss and that of the best constant prediction
    regret  (L(lr) - min L) / (L0 - min L), clipped to 0..1; no suggestion has regret 1

Extra: pip install '.[bench]'
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lr_peers import PEERS
from lr_tasks import LRS, TASKS, LrTask

import probe
from probe.device.cpu import CpuDevice
from probe.training.run import TrainingRun
from probe.training.settings import lr_factor
from probe.version import VERSION

ORACLE_FILE = Path(__file__).parent / "results" / "lr_oracle.json"
ORACLE_SEEDS = range(3)
FIRST_SEED = 100
"""First seed of the finders, above those of the oracle."""
FINAL_FRACTIONS = (0.85, 0.9, 0.95, 1.0)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One suggestion."""

    task: str
    finder: str
    seed: int
    lr: float | None
    steps: int
    regret: float


# ------------------------------------------------------------------------------------------- oracle


def final_loss(task: LrTask, lr: float, seed: int) -> tuple[float, float | None]:
    """Return the initial and the final validation loss of a whole training. The final one is None if it diverged."""
    built = task.task()
    run = TrainingRun(built, task.settings, device=CpuDevice(), seed=seed)
    initial = run.evaluate(built.val).loss
    wanted = {round(task.training_steps * fraction) for fraction in FINAL_FRACTIONS}
    finals: list[float] = []
    first = math.nan
    for step, batch in zip(range(task.training_steps), run.batches(), strict=False):
        run.set_lr(lr * lr_factor(task.settings.lr_schedule, step, task.training_steps))
        loss = run.train_step(batch).item()
        first = loss if step == 0 else first
        if not math.isfinite(loss) or loss > 1e4 * max(first, 1.0):
            return initial, None
        if step + 1 in wanted:
            finals.append(run.evaluate(built.val).loss)
    mean = statistics.fmean(finals)
    return initial, mean if math.isfinite(mean) else None


def oracle_runs(name: str) -> dict[str, Any]:
    """Return the initial loss and all final losses of one task."""
    task = TASKS[name]
    measured = [[final_loss(task, lr, seed) for lr in LRS] for seed in ORACLE_SEEDS]
    return {
        "initial_loss": statistics.fmean(row[0][0] for row in measured),
        "final_losses": [[final for _, final in row] for row in measured],
    }


class Oracle:
    """Stored trainings, and the regret of any learning rate computed from them."""

    def __init__(self, names: Sequence[str], processes: int) -> None:
        kept = json.loads(ORACLE_FILE.read_text()) if ORACLE_FILE.exists() else {}
        fingerprints = {name: TASKS[name].fingerprint() for name in names}
        missing = [name for name in names if fingerprints[name] not in kept]
        for name, runs in zip(missing, in_processes(oracle_runs, missing, processes, "oracle"), strict=True):
            kept[fingerprints[name]] = {"task": name, **runs}
        if missing:
            current = {TASKS[name].fingerprint() for name in TASKS}
            kept = {key: runs for key, runs in sorted(kept.items(), key=lambda item: item[1]["task"]) if key in current}
            ORACLE_FILE.write_text(json.dumps(kept, indent=1) + "\n")
        self._curves = {name: self._curve(name, kept[fingerprints[name]]) for name in names}

    def _curve(self, name: str, runs: dict[str, Any]) -> list[float]:
        worst = min(runs["initial_loss"], TASKS[name].constant_loss())
        losses = [
            statistics.fmean(worst if loss is None else min(loss, worst) for loss in column)
            for column in zip(*runs["final_losses"], strict=True)
        ]
        best = min(losses)
        return [(loss - best) / (worst - best) for loss in losses]

    def regret(self, name: str, lr: float | None) -> float:
        if lr is None or not math.isfinite(lr) or lr <= 0:
            return 1.0
        return float(np.clip(np.interp(math.log10(lr), np.log10(LRS), self._curves[name]), 0, 1))

    def best_lr(self, name: str) -> float:
        return LRS[self._curves[name].index(0.0)]


# ------------------------------------------------------------------------------------------ finders


def ours(task: LrTask, seed: int, confirm: bool | str) -> tuple[float | None, int]:
    result = probe.find_lr(
        task.task(), params=task.params, training_steps=task.training_steps, confirm=confirm, seed=seed, device="cpu"
    )
    return None if result.suggestion is None else result.suggestion.lr, result.num_steps


FINDERS: dict[str, Callable[[LrTask, int], tuple[float | None, int]]] = {
    "**probe lr**": partial(ours, confirm=False),
    "**probe lr --confirm**": partial(ours, confirm=True),
    "**probe lr --confirm full**": partial(ours, confirm="full"),
    **PEERS,
}


def suggest_all(job: tuple[str, int]) -> list[tuple[str, str, int, float | None, int]]:
    """Return a row for each finder of one task and seed."""
    name, seed = job
    return [(name, finder, seed, *find(TASKS[name], seed)) for finder, find in FINDERS.items()]


def in_processes(work: Callable[[Any], Any], jobs: Sequence[Any], processes: int, what: str) -> list[Any]:
    """Call `work` for each job in new processes with one thread each."""
    done = []
    with multiprocessing.get_context("spawn").Pool(processes, initializer=_one_thread) as pool:
        for number, made in enumerate(pool.imap(work, jobs, chunksize=1), start=1):
            print(f"{what}: {number} of {len(jobs)}", file=sys.stderr)
            done.append(made)
    return done


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


# ------------------------------------------------------------------------------------------- tables


def summary_table(rows: Sequence[Row]) -> str:
    """Return a line for each finder over all tasks and seeds."""
    lines = [
        "| finder | median | mean | 90th percentile | at most 5 % | half or more | spread in decades | steps | trainings |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for finder in FINDERS:
        own = [row for row in rows if row.finder == finder]
        regrets = [row.regret for row in own]
        spreads = [_spread([row.lr for row in own if row.task == name]) for name in {row.task for row in own}]
        trainings = statistics.fmean(row.steps / TASKS[row.task].training_steps for row in own)
        lines.append(
            f"| {finder} | {statistics.median(regrets):.3f} | {statistics.fmean(regrets):.3f} "
            f"| {np.quantile(regrets, 0.9):.3f} | {np.mean([r <= 0.05 for r in regrets]):.0%} "
            f"| {np.mean([r >= 0.5 for r in regrets]):.0%} | {statistics.median(spreads):.2f} "
            f"| {statistics.fmean(row.steps for row in own):.0f} | {trainings:.2f} |"
        )
    return "\n".join(lines)


def task_table(rows: Sequence[Row], oracle: Oracle) -> str:
    """Return the median regret of each task and finder."""
    names = list(dict.fromkeys(row.task for row in rows))
    titles = [finder.replace("**", "") for finder in FINDERS]
    lines = [f"| task | best lr | {' | '.join(titles)} |", "|---|--:|" + "--:|" * len(titles)]
    for name in names:
        cells = [
            f"{statistics.median(row.regret for row in rows if row.task == name and row.finder == finder):.3f}"
            for finder in FINDERS
        ]
        lines.append(f"| {name} | {oracle.best_lr(name):.2g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(lrs: Sequence[float | None]) -> float:
    """Standard deviation over seeds, in powers of ten."""
    known = [math.log10(lr) for lr in lrs if lr is not None and lr > 0]
    return statistics.stdev(known) if len(known) > 1 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3, help="suggestions for each task and finder")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS), metavar="NAME")
    parser.add_argument("--processes", type=int, default=max(1, (os.cpu_count() or 1)))
    parser.add_argument("--markdown", type=Path, help="write the tables there too")
    args = parser.parse_args()
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    oracle = Oracle(args.tasks, args.processes)
    jobs = [(name, FIRST_SEED + number) for name in args.tasks for number in range(args.seeds)]
    found = [one for made in in_processes(suggest_all, jobs, args.processes, "suggestions") for one in made]
    rows = [
        Row(task=task, finder=finder, seed=seed, lr=lr, steps=steps, regret=oracle.regret(task, lr))
        for task, finder, seed, lr, steps in found
    ]
    text = f"{summary_table(rows)}\n\nMedian regret for each task:\n\n{task_table(rows, oracle)}\n"
    print(text)
    if args.markdown is not None:
        import torch

        head = (
            f"# Regret of suggested learning rates\n\nprobe {VERSION}, torch {torch.__version__}, {len(args.tasks)} tasks, "
            f"{args.seeds} seeds each, CPU. Written by `benchmarks/lr_regret.py`, which says what figures mean; `steps` are "
            "training steps spent on a suggestion, `trainings` the same in whole trainings of the task.\n\n"
        )
        args.markdown.write_text(head + text)


if __name__ == "__main__":
    main()
