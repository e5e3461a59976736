"""Speed and memory of several trials on one GPU, with local workers and on Ray.

    python benchmarks/gpu_sharing.py [--device cuda] [--workers 1 2 4] [--on local ray] [--recipe recipes/digits.toml]
        [--trials 12] [--epochs 3] [--set KEY=VALUE ...] [--markdown FILE]

Each search runs the same trials (random configurations, scheduler `none`, constant learning rate) by `probe search`, with N
local workers or with `--ray local:N`. Local workers start a trial if its predicted memory fits beside the running ones; Ray
gives each trial a fraction of the GPU by the same prediction. The time is that of the trials alone, without probes and final
training; the speed is relative to one local worker. On Ray, each job on a GPU has a process of its own, and pays for PyTorch's
import and a CUDA context again. Trials that ran out of memory needed more than predicted.

With --device cpu, the benchmark only shows that it works.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probe.units import format_percent, format_seconds
from probe.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
HEADER = (
    "| executor | parallel jobs | trials | trained | out of memory | other | retries | time of the trials | speed "
    "| utilization |",
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The result of one search."""

    executor: str
    num_workers: int
    result: Mapping[str, Any]

    @property
    def trial_seconds(self) -> float:
        """Ideal time of the trials on these workers, divided by the utilization of the slots."""
        busy: float = sum(trial["seconds"] for trial in self.result["trials"])
        utilization: float = self.result["slots"]["utilization"]
        return busy / (self.num_workers * utilization)

    def count(self, status: str) -> int:
        return sum(trial["status"] == status for trial in self.result["trials"])


def run_search(executor: str, num_workers: int, options: argparse.Namespace) -> Measured:
    """Run one search. Raises RuntimeError if it fails."""
    settings = [
        "search.sampler=random",
        "search.scheduler=none",
        f"search.fidelity={{max={options.epochs}}}",
        "space.lr=0.001",
        "space.batch_size=64",
        *options.set,
    ]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "probe", "search", options.recipe, "--quiet", "--out", str(out)]
        command += ["--device", options.device, "--trials", str(options.trials), "--time", "none"]
        command += ["--epochs", str(options.trials * options.epochs)]
        command += [part for setting in settings for part in ("--set", setting)]
        command += ["--workers", str(num_workers)]
        command += ["--ray", f"local:{num_workers}"] if executor == "ray" else []
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-3000:]}")
        result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return Measured(executor=executor, num_workers=num_workers, result=result)


def row(found: Measured, first: Measured) -> str:
    trained, starved = found.count("complete"), found.count("oom")
    slots, total = found.result["slots"], len(found.result["trials"])
    return (
        f"| {found.executor} | {found.num_workers} | {total} | {trained} | {starved} | {total - trained - starved} | "
        f"{slots['num_retries']} | {format_seconds(found.trial_seconds)} | "
        f"{first.trial_seconds / found.trial_seconds:.2f} | {format_percent(slots['utilization'], decimals=0)} |"
    )


def page(found: Sequence[Measured], options: argparse.Namespace) -> str:
    device = found[0].result["meta"]["device"]
    head = [
        "# Trials that share a GPU",
        "",
        f"`python benchmarks/gpu_sharing.py --device {options.device}` with probe {VERSION}: {options.trials} trials of "
        f"{options.epochs} epochs of {options.recipe} on {device}, {os.cpu_count()} cores, {platform.machine()}.",
        "The speed is relative to one local worker.",
        "",
        *HEADER,
    ]
    return "\n".join([*head, *(row(one, found[0]) for one in found), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--on", choices=("local", "ray"), nargs="+", default=["local", "ray"])
    parser.add_argument("--recipe", default="recipes/digits.toml")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override of the recipe")
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    found: list[Measured] = []
    for executor in options.on:
        for num_workers in options.workers:
            found.append(run_search(executor, num_workers, options))
            print(row(found[-1], found[0]), flush=True)
            if options.markdown is not None:
                options.markdown.write_text(page(found, options), encoding="utf-8")


if __name__ == "__main__":
    main()
