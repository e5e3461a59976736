"""Check whether the batch sizes that finders return hold in training, with an independent training loop.

    python benchmarks/batch_holds.py [--kinds NAME ...] [--finders NAME ...] [--markdown FILE]

Each kind of task in benchmarks/batch_kinds.py is tested under two limits: the memory in which the loop below trains whole
shuffled epochs with batches of 8 and of 64 samples, plus a tenth. The loop shares no code with probe except the limit itself
(SimulatedDevice). A DataLoader reads the samples, which do not count; the batch, the model, gradients and optimizer state do.
After each epoch the loop evaluates `Task.val`, if there is one, with the same batch size.

holds        the loop trains three epochs at the returned size, with another order of samples than the epochs that set the limit
best         the largest power of two at which three shuffled epochs of the loop fit
within one   the returned size holds and is at least half of the best
no answer    the finder raised, or reports that nothing fits, although a size does

probe         `probe.find_batch_size` with its defaults, in this process
Lightning     Tuner.scale_batch_size with its defaults (mode "power", from 2, 3 steps per trial)
accelerate    find_executable_batch_size from 512, around an epoch of the loop, as in its documentation. It trains a whole epoch
              to find the size, and more for each size that fails

Samples: number of samples that a finder trained on, divided by the size of the data set, which is the cost in epochs. For probe
all attempts count, including those for the throughput curve and the confirmation.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch
from batch_kinds import KINDS
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from probe.batch.find import find_batch_size
from probe.device.simulated import SimulatedDevice
from probe.errors import ProbeError
from probe.task import Task

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}
LOSSES: dict[str, Callable[[Any, Any], Any]] = {"cross_entropy": nn.functional.cross_entropy}
TARGET_SIZES = (8, 64)
SEEDS_OF_LIMIT, SEEDS_OF_BEST, SEEDS_OF_ANSWER = (1, 2, 3), (1, 2, 3), (11, 12, 13)
SPARE = 1.1


# --- the independent loop -------------------------------------------------------------------------------------------


def copied(content: Any) -> Any:
    """Copy every tensor to the device."""
    if isinstance(content, Tensor):
        return content.clone()
    if isinstance(content, tuple) and hasattr(content, "_fields"):
        return type(content)(*map(copied, content))
    if isinstance(content, (tuple, list)):
        return type(content)(map(copied, content))
    if isinstance(content, dict):
        return {name: copied(item) for name, item in content.items()}
    if hasattr(content, "__dict__"):
        made = copy.copy(content)
        vars(made).update({name: copied(item) for name, item in vars(content).items()})
        return made
    return content


def forward(task: Task, model: nn.Module, batch: Any) -> tuple[Tensor, Any]:
    if task.forward is not None:
        loss, outputs = task.forward(model, batch)
        return loss, outputs
    outputs = model(*batch[:-1])
    loss = LOSSES[task.loss] if isinstance(task.loss, str) else task.loss
    return loss(outputs, batch[-1]), outputs


def data_set(data: Any) -> Any:
    return TensorDataset(*map(torch.as_tensor, data)) if isinstance(data, tuple) else data


def train_step(task: Task, model: nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> None:
    optimizer.zero_grad(set_to_none=True)
    if callable(task.augment):
        batch = task.augment(batch)
    loss, _ = forward(task, model, batch)
    torch.autograd.backward(loss)
    optimizer.step()


def build(task: Task) -> nn.Module:
    """Make a model and initialize its lazy weights."""
    model: nn.Module = task.model()
    if any(isinstance(weight, nn.UninitializedParameter) for weight in model.parameters()):
        with torch.no_grad():
            forward(task, model, next(iter(DataLoader(data_set(task.train), batch_size=2, collate_fn=task.collate))))
    return model


def make_optimizer(task: Task, model: nn.Module) -> torch.optim.Optimizer:
    assert isinstance(task.optimizer, str)
    return OPTIMIZERS[task.optimizer](model.parameters(), lr=1e-3)


def train_epoch(task: Task, size: int, device: SimulatedDevice, seed: int) -> None:
    """Train one shuffled epoch and validate. Raises torch.OutOfMemoryError."""
    torch.manual_seed(seed)
    with device.track():
        model = build(task)
    data = data_set(task.train)
    optimizer = make_optimizer(task, model)
    for on_host in DataLoader(data, batch_size=size, shuffle=True, collate_fn=task.collate):
        is_single = len(data) % size == 1 and count(on_host) == 1  # batch normalization cannot train on it
        if not is_single or size == 1:
            with device.track():
                train_step(task, model, optimizer, copied(on_host))
    if task.val is not None:
        model.eval()
        for on_host in DataLoader(data_set(task.val), batch_size=size, collate_fn=task.collate):
            with device.track(), torch.no_grad():
                forward(task, model, copied(on_host))


def count(on_host: Any) -> int:
    """Return the number of samples of a batch, for kinds that may leave a single one over."""
    return len(on_host[-1]) if isinstance(on_host, (tuple, list)) else -1


def peak_bytes(task: Task, size: int, seed: int) -> int:
    device = SimulatedDevice(2**60)
    train_epoch(task, size, device, seed)
    return device.read_memory().peak_allocated_bytes


def holds(task: Task, size: int, limit_bytes: int, seeds: tuple[int, ...]) -> bool:
    device = SimulatedDevice(limit_bytes)
    try:
        for seed in seeds:
            train_epoch(task, size, device, seed)
    except torch.OutOfMemoryError:
        return False
    except (ValueError, RuntimeError, IndexError):
        return False  # the task's own loss or model does not accept this size
    return True


# --- cases ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    name: str
    limit_bytes: int

    @property
    def task(self) -> Task:
        return task_of(self.name)

    @property
    def num_samples(self) -> int:
        return len(data_set(self.task.train))


@cache
def task_of(name: str) -> Task:
    return KINDS[name]()


@cache
def best(case: Case) -> int | None:
    """Return the largest power of two at which three shuffled epochs fit."""
    sizes = [1 << exponent for exponent in range(case.num_samples.bit_length())]
    return next((size for size in reversed(sizes) if holds(case.task, size, case.limit_bytes, SEEDS_OF_BEST)), None)


def cases(names: list[str]) -> Iterator[Case]:
    for name in names:
        task = task_of(name)
        available = len(data_set(task.train))
        limits = {
            int(SPARE * max(peak_bytes(task, size, seed) for seed in SEEDS_OF_LIMIT))
            for size in TARGET_SIZES
            if size <= available
        }
        for limit_bytes in sorted(limits):
            yield Case(name, limit_bytes)


# --- finders --------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    size: int | None = None
    num_samples: int = 0
    """Number of samples trained on to find the size."""
    said: str = ""


def ask_probe(case: Case) -> Answer:
    try:
        result, text = find_batch_size(case.task, device=f"simulated:{case.limit_bytes}", in_process=True), ""
    except ProbeError as error:
        if error.result is None:
            return Answer(said=str(error))
        result, text = error.result, str(error)
    trained = sum(attempt.batch_size * ((attempt.num_steps or 0) + 3) for attempt in result.attempts)
    return Answer(result.largest_fit, trained, text)


class Untracked(Dataset[Any]):
    """A data set whose samples take no memory of the device."""

    def __init__(self, data: Any, device: SimulatedDevice) -> None:
        self.data, self.device = data, device

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        with self.device.untracked():
            return self.data[index]


def loader(task: Task, data: Any, size: int, device: SimulatedDevice, *, shuffle: bool) -> DataLoader[Any]:
    collate = task.collate or torch.utils.data.default_collate

    def collate_untracked(samples: list[Any]) -> tuple[Any, int]:
        with device.untracked():
            return collate(samples), len(samples)

    whole = Untracked(data_set(data), device)
    return DataLoader(whole, batch_size=size, shuffle=shuffle, collate_fn=collate_untracked)


def ask_accelerate(case: Case) -> Answer:
    from accelerate.utils import find_executable_batch_size

    answer, task = Answer(), case.task
    device = SimulatedDevice(case.limit_bytes)

    @find_executable_batch_size(starting_batch_size=min(512, case.num_samples))  # type: ignore[untyped-decorator,unused-ignore]
    def train(batch_size: int) -> int:
        torch.manual_seed(0)
        model = build(task)
        optimizer = make_optimizer(task, model)
        for batch, num_samples in loader(task, task.train, batch_size, device, shuffle=True):
            train_step(task, model, optimizer, copied(batch))
            answer.num_samples += num_samples
        if task.val is not None:
            model.eval()
            with torch.no_grad():
                for batch, _ in loader(task, task.val, batch_size, device, shuffle=False):
                    forward(task, model, copied(batch))
        return batch_size

    with device.track():
        return answered(answer, train)


def ask_lightning(case: Case) -> Answer:
    import lightning.pytorch as pl
    from lightning.pytorch.tuner.tuning import Tuner

    answer, task = Answer(), case.task
    device = SimulatedDevice(case.limit_bytes)

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = build(task)
            self.batch_size = 2

        def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
            return copied(batch[0]), batch[1]

        def training_step(self, batch: Any, index: int) -> Tensor:
            content, num_samples = batch
            answer.num_samples += num_samples
            content = task.augment(content) if callable(task.augment) else content
            return forward(task, self.model, content)[0]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return make_optimizer(task, self.model)

        def train_dataloader(self) -> DataLoader[Any]:
            return loader(task, task.train, self.batch_size, device, shuffle=True)

    class Validated(Module):
        def validation_step(self, batch: Any, index: int) -> None:
            forward(task, self.model, batch[0])

        def val_dataloader(self) -> DataLoader[Any]:
            return loader(task, task.val, self.batch_size, device, shuffle=False)

    def tune() -> int | None:
        module = Module() if task.val is None else Validated()
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        found: int | None = Tuner(trainer).scale_batch_size(module)
        return found

    with tempfile.TemporaryDirectory() as folder, device.track():
        return answered(answer, tune)


def answered(answer: Answer, ask: Callable[[], int | None]) -> Answer:
    """Ask a finder; the answer is the returned size or the error."""
    try:
        answer.size = ask()
    except Exception as error:  # an error of a peer is its answer
        answer.said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:90]}"
    return answer


FINDERS: Mapping[str, Callable[[Case], Answer]] = {
    "probe": ask_probe,
    "Lightning": ask_lightning,
    "accelerate": ask_accelerate,
}


# --- verdicts -------------------------------------------------------------------------------------------------------


@dataclass
class Score:
    finder: str
    answered: int = 0
    held: int = 0
    within_one: int = 0
    epochs: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, case: Case, answer: Answer) -> str:
        """One word that describes the answer."""
        self.epochs.append(answer.num_samples / case.num_samples)
        largest = best(case)
        if answer.size is None:
            verdict = "right" if largest is None else "no answer"
            self.within_one += largest is None
            self.held += largest is None
        else:
            self.answered += 1
            fits = answer.size <= case.num_samples and holds(case.task, answer.size, case.limit_bytes, SEEDS_OF_ANSWER)
            is_near = fits and (largest is None or 2 * answer.size >= largest)
            self.held += fits
            self.within_one += is_near
            verdict = "does not hold" if not fits else "holds" if is_near else "too small"
        if verdict in ("no answer", "does not hold", "too small"):
            self.wrong.append(
                f"{case.name}, {case.limit_bytes:,} B: {verdict} ({answer.size or answer.said}, best {largest})"
            )
        return f"{answer.size or '-'}{'' if verdict in ('holds', 'right') else f' ({verdict})'}"


def table(rows: list[list[str]], scores: list[Score], num_kinds: int) -> str:
    total = len(rows)
    lines = [
        f"{num_kinds} kinds of data and models, {total} cases; torch {torch.__version__}{peers()}, one thread.",
        "",
        "| finder | cases | answered | holds | holds, within one power of two of the best | epochs trained: median | most |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for score in scores:
        near = f"{score.within_one} ({100 * score.within_one / total:.0f} %)"
        held = f"{score.held} ({100 * score.held / total:.0f} %)"
        lines.append(
            f"| {score.finder} | {total} | {score.answered} | {held} | {near} "
            f"| {median(score.epochs):.1f} | {max(score.epochs):.1f} |"
        )
    lines += ["", f"| kind | limit | best | {' | '.join(score.finder for score in scores)} |"]
    lines += ["|---|--:|--:" + "|--:" * len(scores) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    for score in scores:
        if score.wrong:
            lines += ["", f"Wrong answers of {score.finder}:", "", *(f"- {line}" for line in score.wrong)]
    return "\n".join(lines) + "\n"


def peers() -> str:
    return "".join(f", {name} {importlib.metadata.version(name)}" for name in ("lightning", "accelerate"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--finders", nargs="*", default=list(FINDERS), choices=list(FINDERS))
    parser.add_argument("--markdown", type=Path, help="write the table into this file, below its first heading")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    scores = [Score(name) for name in options.finders]
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in cases(options.kinds):
            said = [score.add(case, FINDERS[score.finder](case)) for score in scores]
            rows.append([case.name, f"{case.limit_bytes:,} B", str(best(case) or "-"), *said])
            print(" | ".join(rows[-1]), flush=True)
    text = table(rows, scores, len(options.kinds))
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(
            f"# Batch sizes that hold in training\n\n`python benchmarks/batch_holds.py`\n\n{text}"
        )


if __name__ == "__main__":
    main()
