"""Training speed in samples per second, compared with three other loops, for the small CNN of recipes/mnist.toml on the CPU.

    python benchmarks/train_throughput.py [--markdown FILE]

All loops run in the same process and alternate with probe's, so that a noisy machine affects all of them:
  bare       a hand-written loop over the same in-memory tensors that does not read the loss: the cost of PyTorch itself
  loader     the usual loop: torchvision's MNIST with ToTensor and Normalize, through a DataLoader
  lightning  Lightning's Trainer over the same in-memory tensors (extra `bench`; skipped if not installed)

The data are MNIST if $PROBE_DATA contains it; otherwise random pixels of the same shape, which cost the same.
Ratios are medians over rounds of (probe / other loop) within one round.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import struct
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision import datasets, transforms

from probe.device.cpu import CpuDevice
from probe.tasks.source import NamedSource
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings

BATCH_SIZES = (32, 128, 512)
SAMPLES_PER_ROUND = 2048
ROUNDS = 21
LR = 1e-3


def mnist_folder(scratch: Path) -> Path:
    """A folder with MNIST in torchvision's layout, real or random."""
    given = os.environ.get("PROBE_DATA")
    if given and (Path(given) / "MNIST" / "raw").is_dir():
        return Path(given)
    raw = scratch / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 8192), ("t10k", 512)):
        pixels = torch.randint(0, 256, (count, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(count, dtype=torch.uint8) % 10
        (raw / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 2051, count, 28, 28) + pixels.numpy().tobytes()
        )
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.numpy().tobytes())
    return scratch


def ours(run: TrainingRun) -> Callable[[], None]:
    def epoch() -> None:
        assert run.train_epoch() is not None

    return epoch


def bare(model: nn.Module, inputs: Tensor, targets: Tensor, batch_size: int) -> Callable[[], None]:
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)

    def epoch() -> None:
        model.train()
        order = torch.randperm(len(inputs))
        for start in range(0, len(inputs), batch_size):
            chosen = order[start : start + batch_size]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen])
            torch.autograd.backward(loss)
            optimizer.step()

    return epoch


def loader(model: nn.Module, folder: Path, batch_size: int) -> Callable[[], None]:
    to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    data = torch.utils.data.Subset(datasets.MNIST(folder, transform=to_tensor), range(SAMPLES_PER_ROUND))
    batches = DataLoader(data, batch_size=batch_size, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)

    def epoch() -> None:
        model.train()
        for inputs, targets in batches:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), targets)
            torch.autograd.backward(loss)
            optimizer.step()

    return epoch


def lightning(model: nn.Module, inputs: Tensor, targets: Tensor, batch_size: int) -> Callable[[], None] | None:
    try:
        import lightning
    except ImportError:
        return None

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, _: int) -> Tensor:
            return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.model.parameters(), lr=LR)

    module = Module()
    batches = DataLoader(TensorDataset(inputs, targets), batch_size=batch_size, shuffle=True)

    def epoch() -> None:
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, barebones=False,
        )  # fmt: skip
        trainer.fit(module, batches)

    return epoch


def seconds(function: Callable[[], None]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def batching_seconds(run: TrainingRun) -> Callable[[], None]:
    def epoch() -> None:
        for _, _batch in zip(range(run.num_steps_per_epoch), run.batches(), strict=False):
            pass

    return epoch


def measure(batch_size: int, folder: Path) -> dict[str, float]:
    source = NamedSource(model="cnn", data="mnist", data_dir=folder)
    task = source.build({})
    inputs, targets = (tensor[:SAMPLES_PER_ROUND].contiguous() for tensor in task.train)
    small = type(task)(model=task.model, train=(inputs, targets))
    run = TrainingRun(
        small, TrainerSettings(optimizer="adam", lr=LR, batch_size=batch_size), device=CpuDevice(), seed=0
    )
    contenders = {
        "ours": ours(run),
        "bare": bare(task.model(), inputs, targets, batch_size),
        "loader": loader(task.model(), folder, batch_size),
        "lightning": lightning(task.model(), inputs, targets, batch_size),
        "batching": batching_seconds(run),
    }
    present = {name: contender for name, contender in contenders.items() if contender is not None}
    for contender in present.values():
        contender()
    rounds = []
    for number in range(ROUNDS):
        names = list(present)
        turn = number % len(names)  # nobody always runs after the same one
        rounds.append({name: seconds(present[name]) for name in names[turn:] + names[:turn]})
    result = {"samples_per_second": SAMPLES_PER_ROUND / statistics.median(one["ours"] for one in rounds)}
    for name in ("bare", "loader", "lightning"):
        if name in present:
            result[name] = statistics.median(one[name] / one["ours"] for one in rounds)
    result["batching_share"] = statistics.median(one["batching"] / one["ours"] for one in rounds)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="lightning.*")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        folder = mnist_folder(Path(scratch))
        rows = {size: measure(size, folder) for size in BATCH_SIZES}
    lines = [
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {ROUNDS} rounds of {SAMPLES_PER_ROUND:,} samples; "
        "throughput of probe's loop divided by the peer's, medians within rounds",
        "",
        "| batch | samples/s | / bare loop | / DataLoader over torchvision's MNIST | / Lightning | batching's share |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for size, row in rows.items():
        peer = f"{row['lightning']:.2f}" if "lightning" in row else "not installed"
        lines.append(
            f"| {size} | {row['samples_per_second']:,.0f} | {row['bare']:.3f} | {row['loader']:.2f} | {peer} "
            f"| {100 * row['batching_share']:.2f} % |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    if options.markdown is not None:
        options.markdown.write_text("# Training throughput\n\n`python benchmarks/train_throughput.py`\n\n" + text)


if __name__ == "__main__":
    main()
