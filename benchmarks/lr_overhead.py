"""What a range test costs over the bare training steps that it makes.

    python benchmarks/lr_overhead.py [--rounds 15] [--markdown FILE]

Both sides train the same model over the same batches at the same learning rates, in turns, so that a noisy machine disturbs
both alike. `bare` makes the steps and looks at no loss; the range test also reads and judges the losses, keeps a copy of the
model and puts everything back. Medians over rounds of (range test / bare) - 1.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from lr_tasks import TASKS

from probe.device.cpu import CpuDevice
from probe.lr.curve import ramp
from probe.lr.range_test import run_range_test
from probe.training.run import TrainingRun
from probe.version import VERSION

NUM_STEPS = 300
HIGHEST_LR = 0.1
"""Low enough that no loss diverges: both sides make every step."""
NAMES = (
    "digits_linear_sgd",
    "digits_mlp_adam",
    "digits_cnn_sgdm_cosine",
    "denoise_cnn_adam",
    "characters_transformer_adamw_linear",
)


def bare_seconds(run: TrainingRun) -> float:
    started = time.perf_counter()
    for lr, batch in zip(ramp(1e-5, HIGHEST_LR, NUM_STEPS), run.batches(), strict=False):
        run.set_lr(lr)
        run.train_step(batch)
    return time.perf_counter() - started


def range_test_seconds(run: TrainingRun) -> float:
    started = time.perf_counter()
    curve = run_range_test(run, lowest_lr=1e-5, highest_lr=HIGHEST_LR, num_steps=NUM_STEPS, seed=0)
    seconds = time.perf_counter() - started
    assert len(curve.points) == NUM_STEPS, "the range test ended early: nothing to compare"
    return seconds


def overheads(name: str, rounds: int) -> list[tuple[float, float]]:
    """(bare seconds, overhead) of each round; the order alternates."""
    task = TASKS[name]
    measured = []
    for number in range(rounds):
        sides = [bare_seconds, range_test_seconds]
        seconds = {}
        for side in sides if number % 2 else sides[::-1]:
            run = TrainingRun(task.task(), task.settings, device=CpuDevice(), seed=0, stops_at_nan=False)
            seconds[side] = side(run)
        measured.append((seconds[bare_seconds], seconds[range_test_seconds] / seconds[bare_seconds] - 1))
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
