"""The overhead of a rung in addition to training and checkpoints, with and without frozen imports.

    python benchmarks/rung_overhead.py [--blocks 6] [--rungs 20] [--before WORKTREE [--pairs 3]] [--markdown FILE]

Rungs of one epoch of a small network on 400 samples run one after the other in one worker process, each from the checkpoint of
the previous one. In every other block, the worker's garbage collector also traverses imported objects, as it did before
`freeze_imports`. Times are medians over all rungs of a kind. The time of a rung is measured by the caller, from sending the job
to receiving its report; its parts are measured inside the worker.

With `--before`, a git worktree of an older version (`git worktree add DIR COMMIT`), whole commands of both versions alternate;
ratios are medians of the ratios within a pair.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import probe
from probe.device.select import DeviceSpec
from probe.loading.records import ValidationSplit
from probe.search.executors.local import LocalExecutor
from probe.search.jobs.checkpoint_files import checkpoint_path
from probe.search.jobs.jobs import RungJob, RungReport
from probe.tasks.source import TargetSource
from probe.units import format_seconds
from probe.workers.process_state import freeze_imports

ROOT = Path(__file__).parents[1]
MOST_SECONDS = 0.02
"""Largest acceptable overhead of a rung."""
COMMANDS = {
    "`probe search recipes/digits.toml`, 12 trials": (
        "search recipes/digits.toml --trials 12 --time none --device cpu --workers 1"
    ),
    "`probe batch --model cnn --data digits`": "batch --model cnn --data digits --device simulated:64MiB",
    "`probe batch --model resnet18 --img 32`": "batch --model resnet18 --img 32 --device simulated:200MiB",
}
BESIDES = ("open device", "build task", "hold out validation part", "make model and optimizer", "summarize", "release")
TRAINS = ("train and evaluate", "load checkpoint", "save checkpoint")


def small_task(width: int = 16) -> probe.Task:
    import torch

    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(600, 10, generator=generator)
    targets = (inputs[:, :2].sum(1) > 0).long()
    return probe.Task(
        model=lambda: torch.nn.Sequential(torch.nn.Linear(10, width), torch.nn.ReLU(), torch.nn.Linear(width, 2)),
        train=(inputs[:400], targets[:400]),
        test=(inputs[400:], targets[400:]),
        metrics={"accuracy": "accuracy"},
        optimizer="adam",
        batch_size=32,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    report: RungReport
    seconds: float
    """Time inside the worker."""
    parts: dict[str, float] = field(default_factory=dict)


def measured_rung(job: RungJob) -> Measured:
    """Run a rung in a worker and measure the time of its parts."""
    from probe.device.cpu import CpuDevice
    from probe.search.jobs import trial
    from probe.training.run import TrainingRun

    parts: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                parts[name] += time.perf_counter() - started

        return call

    doors: tuple[tuple[Any, str, str], ...] = (
        (trial, "open_device", "open device"),
        (TargetSource, "build", "build task"),
        (trial, "split_task", "hold out validation part"),
        (TrainingRun, "__init__", "make model and optimizer"),
        (TrainingRun, "run_epoch", "train and evaluate"),
        (trial, "load_checkpoint", "load checkpoint"),
        (trial, "save_checkpoint", "save checkpoint"),
        (trial, "summarize_training", "summarize"),
        (CpuDevice, "release", "release"),
    )
    before = [getattr(owner, name) for owner, name, _ in doors]
    for (owner, name, part), function in zip(doors, before, strict=True):
        setattr(owner, name, timed(part, function))
    started = time.perf_counter()
    try:
        report = trial.run_rung(job)
    finally:
        seconds = time.perf_counter() - started
        for (owner, name, _), function in zip(doors, before, strict=True):
            setattr(owner, name, function)
    return Measured(report=report, seconds=seconds, parts=dict(parts))


def rung(folder: Path, number: int, epoch: int) -> RungJob:
    return RungJob(
        number=number,
        source=TargetSource(target="rung_overhead:small_task"),
        params={"width": 16, "lr": 0.01},
        seed=number,
        split=ValidationSplit(fraction=0.2, seed=1),
        device=DeviceSpec(kind="cpu"),
        planned_epochs=10_000,
        epochs_from=epoch,
        epochs_to=epoch + 1,
        checkpoint_in=checkpoint_path(folder, number, epoch) if epoch else None,
        checkpoint_out=checkpoint_path(folder, number, epoch + 1),
    )


def measure_rungs(*, num_blocks: int, num_rungs: int) -> dict[str, list[dict[str, float]]]:
    """ "frozen" and "traversed" -> times of the parts of every rung."""
    found: dict[str, list[dict[str, float]]] = {"frozen": [], "traversed": []}
    run = importlib.import_module(
        "rung_overhead"
    ).measured_rung  # as of a module it travels by name, like a search's own
    with tempfile.TemporaryDirectory(prefix="probe-rungs-") as name, LocalExecutor(1, num_threads=1) as executor:
        executor.run(run, rung(Path(name), 0, 0))  # imports this module and warms up PyTorch
        for block in range(num_blocks):
            kind = "traversed" if block % 2 else "frozen"
            executor.run(freeze_imports if kind == "frozen" else gc.unfreeze)
            for epoch in range(num_rungs):
                started = time.perf_counter()
                measured = executor.run(run, rung(Path(name), block + 1, epoch))
                seconds = time.perf_counter() - started
                assert measured.report.outcome == "finished"
                trained = sum(measured.parts.get(part, 0.0) for part in TRAINS)
                rest = measured.seconds - sum(measured.parts.values())
                extra = {"pickling and pipes": seconds - measured.seconds, "the rest": rest, "whole": seconds}
                found[kind].append({**measured.parts, **extra, "beside": seconds - trained})
    return found


def rung_table(found: dict[str, list[dict[str, float]]]) -> list[str]:
    lines = ["| part of a rung | frozen | traversed | traversed / frozen |", "|---|--:|--:|--:|"]
    rows = (*TRAINS, *BESIDES, "pickling and pipes", "the rest", "whole", "beside")
    for part in rows:
        frozen, traversed = (
            statistics.median(parts.get(part, 0.0) for parts in found[kind]) for kind in ("frozen", "traversed")
        )
        name = "**beside training and checkpoint**" if part == "beside" else part
        lines.append(f"| {name} | {1000 * frozen:.2f} ms | {1000 * traversed:.2f} ms | {traversed / frozen:.2f} |")
    median = statistics.median(parts["beside"] for parts in found["frozen"])
    kept = "kept" if median <= MOST_SECONDS else "NOT kept"
    return [*lines, "", f"At most {1000 * MOST_SECONDS:.0f} ms beside training and checkpoint: {kept}."]


def command_seconds(version: Path, arguments: str) -> float:
    """Time of one command with the probe of that source tree; its report is deleted."""
    with tempfile.TemporaryDirectory(prefix="probe-command-") as name:
        command = [sys.executable, "-P", "-m", "probe", *arguments.split(), "--quiet", "--out", f"{name}/run"]
        started = time.perf_counter()
        env = {**os.environ, "PYTHONPATH": str(version)}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} in {version}: {done.stdout}{done.stderr}")
        return time.perf_counter() - started


def command_table(before: Path, *, num_pairs: int) -> list[str]:
    lines = ["| command | before | now | before / now |", "|---|--:|--:|--:|"]
    for title, arguments in COMMANDS.items():
        turns = [(command_seconds(before, arguments), command_seconds(ROOT, arguments)) for _ in range(num_pairs)]
        medians = (statistics.median(turn[index] for turn in turns) for index in (0, 1))
        ratio = statistics.median(old / new for old, new in turns)
        lines.append(f"| {title} | {' | '.join(map(format_seconds, medians))} | {ratio:.2f} |")
        print(lines[-1], turns, flush=True)
    return lines


def commit_of(worktree: Path) -> str:
    command = ["git", "-C", str(worktree), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--rungs", type=int, default=20, help="of each block")
    parser.add_argument("--before", type=Path, help="a git worktree of the version to compare whole commands with")
    parser.add_argument("--pairs", type=int, default=3, help="turns of each command")
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file")
    options = parser.parse_args()
    lines = [f"Python {platform.python_version()}, {os.cpu_count()} cores, CPU, one thread.", ""]
    lines += rung_table(measure_rungs(num_blocks=options.blocks, num_rungs=options.rungs))
    print("\n".join(lines), flush=True)
    if options.before is not None:
        head = f"Whole commands, {options.pairs} turns; before: commit {commit_of(options.before)}."
        lines += ["", head, "", *command_table(options.before.absolute(), num_pairs=options.pairs)]
    if options.markdown is not None:
        words = f" --before WORKTREE --pairs {options.pairs}" if options.before is not None else ""
        title = f"# Overhead of a rung\n\n`python benchmarks/rung_overhead.py{words}`\n\n"
        options.markdown.write_text(title + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
