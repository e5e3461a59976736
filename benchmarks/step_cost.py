"""What a training step costs the host: probe's loop against a plain one over the same data, for a small network on a GPU.

    python benchmarks/step_cost.py [--markdown FILE]

The network is small, so a GPU waits for the host. Both loops run in one process and alternate; the host's time is the CPU time
of the process (`time.process_time`), which other processes on the machine do not add to. Under the fake driver of
tests/fake_cuda (see its README), where kernels take no time, launches are counted too.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import probe
from probe.device.select import open_device, parse_device
from probe.training.metrics import RunningMetrics
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings

BATCH_SIZE = 32
NUM_STEPS = 64
ROUNDS = 101


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))


def contenders() -> Mapping[str, Callable[[], object]]:
    data = torch.randn(BATCH_SIZE * NUM_STEPS, 64), torch.randint(0, 4, (BATCH_SIZE * NUM_STEPS,))
    task = probe.Task(model=network, train=data, metrics={"accuracy": "accuracy"})
    device = open_device(parse_device("cuda"), measuring_memory=False)
    run = TrainingRun(task, TrainerSettings(batch_size=BATCH_SIZE, optimizer="adam"), device=device, seed=0)
    inputs, targets = (tensor.to(device.torch_device) for tensor in data)
    model = network().to(device.torch_device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def plain() -> None:
        model.train()
        order = torch.randperm(len(inputs)).to(device.torch_device)
        for start in range(0, len(inputs), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            batch, expected = inputs[rows], targets[rows]
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(model(batch), expected))
            optimizer.step()
        device.synchronize()

    def with_accuracy() -> None:
        run.train_epoch(RunningMetrics(task.metrics))
        device.synchronize()

    def ours() -> None:
        run.train_epoch()
        device.synchronize()

    return {"plain loop": plain, "probe": ours, "probe, with the training accuracy": with_accuracy}


def num_launches(action: Callable[[], object]) -> float | None:
    """Launches per step; None on a real GPU."""
    try:
        count: Callable[[], int] = ctypes.CDLL(None).fake_num_launches
    except AttributeError:
        return None
    before = count()
    action()
    return (count() - before) / NUM_STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    loops = contenders()
    for loop in (*loops.values(), *loops.values()):
        loop()
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(ROUNDS):
        names = list(loops)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            started = time.process_time()
            loops[name]()
            seconds[name].append((time.process_time() - started) / NUM_STEPS)
    base = seconds["plain loop"]
    lines = [
        f"torch {torch.__version__}, {torch.cuda.get_device_name()}; {ROUNDS} rounds of {NUM_STEPS} steps. Microseconds of the "
        "host per step: fastest tenth and median of the rounds; differences to the plain loop likewise, the median within "
        "rounds.",
        "",
        "| loop | host, fastest tenth | host, median | more, fastest tenth | more, median | launches per step |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, found in seconds.items():
        fastest, median = statistics.quantiles(found, n=10)[0], statistics.median(found)
        more = statistics.median(one - other for one, other in zip(found, base, strict=True))
        launches = num_launches(loops[name])
        counted = "not counted" if launches is None else f"{launches:.2f}"
        numbers = (fastest, median, fastest - statistics.quantiles(base, n=10)[0], more)
        lines.append(f"| {name} | {' | '.join(f'{1e6 * number:.0f}' for number in numbers)} | {counted} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if options.markdown is not None:
        options.markdown.write_text("# Host's cost of a training step\n\n`python benchmarks/step_cost.py`\n\n" + text)


if __name__ == "__main__":
    main()
