"""Overhead of a range test over its training steps.

    python benchmarks/lr_overhead.py [--rounds 15] [--markdown FILE]

The steps are timed inside the range test, including batches and setting the learning rate. Everything else (saving and
restoring the model, reading losses, detecting divergence, building the curve) is overhead. Both are measured in the same run,
because two separate runs differ by up to 20 %. On the CPU a step has ended when its call returns; this script does not measure
a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from lr_tasks import TASKS

from probe.device.cpu import CpuDevice
from probe.lr.measure import run_range_test
from probe.training.run import TrainingRun
from probe.version import VERSION

NUM_STEPS = 300
HIGHEST_LR = 0.1
"""Highest learning rate, so low that no loss diverges and all steps are made."""
NAMES = (
    "digits_linear_sgd",
    "digits_mlp_adam",
    "digits_cnn_sgdm_cosine",
    "denoise_cnn_adam",
    "characters_transformer_adamw_linear",
)


class TimedRun:
    """A training run that sums the seconds of its steps."""

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self.settings = run.settings
        self.state = run.state
        self.restore = run.restore
        self.step_seconds = 0.0

    def batches(self) -> Iterator[Any]:
        batches = self._run.batches()
        while True:
            started = time.perf_counter()
            batch = next(batches, None)
            self.step_seconds += time.perf_counter() - started
            if batch is None:
                return
            yield batch

    def set_lr(self, lr: float) -> None:
        started = time.perf_counter()
        self._run.set_lr(lr)
        self.step_seconds += time.perf_counter() - started

    def train_step(self, batch: Any) -> torch.Tensor:
        started = time.perf_counter()
        loss = self._run.train_step(batch)
        self.step_seconds += time.perf_counter() - started
        return loss


def overheads(name: str, rounds: int) -> list[tuple[float, float]]:
    """Return (seconds of the steps, relative overhead) of each round."""
    task = TASKS[name]
    measured = []
    for _ in range(rounds):
        run = TimedRun(TrainingRun(task.task(), task.settings, device=CpuDevice(), seed=0, stops_at_nan=False))
        started = time.perf_counter()
        curve = run_range_test(
            cast(TrainingRun, run), lowest_lr=1e-5, highest_lr=HIGHEST_LR, num_steps=NUM_STEPS, seed=0
        )
        seconds = time.perf_counter() - started
        assert len(curve.points) == NUM_STEPS, "the range test ended early: nothing to compare"
        measured.append((run.step_seconds, seconds / run.step_seconds - 1))
    return measured[1:]  # the first warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--markdown", type=Path, help="write the table there too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["| task | bare step | overhead, median | quartiles |", "|---|--:|--:|--:|"]
    for name in NAMES:
        measured = overheads(name, args.rounds + 1)
        low, middle, high = statistics.quantiles([overhead for _, overhead in measured], n=4)
        step = statistics.median(seconds for seconds, _ in measured) / NUM_STEPS
        lines.append(f"| {name} | {1e3 * step:.2f} ms | {middle:+.1%} | {low:+.1%} to {high:+.1%} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.markdown is not None:
        head = (
            f"# What a range test costs\n\nprobe {VERSION}, torch {torch.__version__}, CPU, one thread. Written by "
            f"`benchmarks/lr_overhead.py`: a range test of {NUM_STEPS} steps over the same bare training steps.\n\n"
        )
        args.markdown.write_text(head + text)


if __name__ == "__main__":
    main()
