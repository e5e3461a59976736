"""Is the batch size that a finder returns the right one? Random small models, optimizers, limits and data sets.

    python benchmarks/batch_correctness.py [--cases 320] [--seed 0] [--markdown FILE]

Every case trains for real on the CPU under a simulated byte limit (SimulatedDevice). The truth is found by trying every power
of two up to `max` and the size of the data set: the largest that fits. Four finders answer the same question:

probe, predicted   starts where its prediction says
probe, unpredicted starts at the case's own first size, which may be any number
Lightning          Tuner.scale_batch_size(mode="power") with the case's `init_val` and `max_val`
accelerate         find_executable_batch_size with `starting_batch_size`: by design it only comes down from its start, so that
                   "smaller than possible" is no fault of it; its function trains three steps on batches of the data set,
                   and a larger answer than the largest power of two is right where it ran and fits

What is counted: right (the largest power of two that fits), smaller than possible, never ran (no batch of the returned size was
trained on to the end), does not fit (trying the returned size fails), beyond the bounds (larger than the data set or `max`),
crashed (the finder raised although a size fits). Wrong is what never ran, does not fit or is beyond the bounds.
For probe, anything but the right answer is wrong. Attempts: how many batch sizes were tried to find the size.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import logging
import random
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import probe.batch.attempt
from probe.batch.decide import Plan
from probe.batch.find import probe_batch_size
from probe.device.simulated import SimulatedDevice
from probe.errors import ProbeError
from probe.task import Task
from probe.training.optimizers import make_optimizer
from probe.training.settings import TrainerSettings

OPTIMIZERS: tuple[dict[str, Any], ...] = (
    {"optimizer": "sgd"},
    {"optimizer": "sgd", "momentum": 0.9},
    {"optimizer": "adam"},
    {"optimizer": "adamw"},
    {"optimizer": "rmsprop"},
    {"optimizer": "adagrad"},
)


class Tokens(nn.Module):
    """A bag of embedded words, or an LSTM or a Transformer layer over them."""

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, width)
        self.body: nn.Module = nn.Identity()
        if kind == "lstm":
            self.body = nn.LSTM(width, width, batch_first=True)
        elif kind == "transformer":
            self.body = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.1, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.body(self.embedding(inputs))
        if isinstance(hidden, tuple):
            hidden = hidden[0]
        return torch.as_tensor(self.head(hidden.mean(1)))


def mlp(width: int, depth: int, normalized: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Linear(16 if number == 0 else width, width), nn.ReLU()]
        layers += [nn.BatchNorm1d(width)] if normalized else []
    return nn.Sequential(*layers, nn.Linear(width, 10))


def cnn(width: int, depth: int, normalized: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Conv2d(1 if number == 0 else width, width, 3, padding=1), nn.ReLU(inplace=True)]
        layers += [nn.BatchNorm2d(width)] if normalized else []
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


@dataclass(frozen=True)
class Case:
    number: int
    model: str
    width: int
    depth: int
    normalized: bool
    optimizer: dict[str, Any]
    num_samples: int
    start: int
    max: int | None
    limit_bytes: int

    @property
    def bound(self) -> int:
        return min(self.num_samples, self.max or self.num_samples)

    def build(self) -> nn.Module:
        if self.model == "mlp":
            return mlp(self.width, self.depth, self.normalized)
        if self.model == "cnn":
            return cnn(self.width, self.depth, self.normalized)
        return Tokens(self.model, self.width)

    def data(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.number)
        targets = torch.randint(10, (self.num_samples,), generator=generator)
        if self.model == "mlp":
            return torch.randn(self.num_samples, 16, generator=generator), targets
        if self.model == "cnn":
            return torch.randn(self.num_samples, 1, 8, 8, generator=generator), targets
        return torch.randint(50, (self.num_samples, 6), generator=generator), targets

    def task(self) -> Task:
        return Task(model=self.build, train=self.data())

    def settings(self, size: int) -> TrainerSettings:
        return TrainerSettings(batch_size=size, **self.optimizer)


@dataclass
class Answer:
    size: int | None
    attempts: int
    ran: set[int] = field(default_factory=set)
    """Sizes of batches that were trained on to the end."""
    crashed: str | None = None


def make_cases(count: int, seed: int) -> Iterator[Case]:
    """A third of the limits are drawn blindly from 1 KiB to 16 MiB, the others about where the answer changes."""
    draw = random.Random(seed)
    for number in range(count):
        case = Case(
            number=number,
            model=draw.choice(["mlp", "mlp", "cnn", "bag", "lstm", "transformer"]),
            width=draw.choice([4, 8, 12, 24]),
            depth=draw.randint(1, 3),
            normalized=draw.random() < 0.3,
            optimizer=draw.choice(OPTIMIZERS),
            num_samples=draw.choice([draw.randint(2, 60), draw.randint(30, 700), draw.randint(100, 3000)]),
            start=draw.choice([1, 2, draw.randint(1, 64), draw.randint(64, 2048), 512]),
            max=draw.choice([None, None, draw.randint(1, 100), draw.randint(100, 3000)]),
            limit_bytes=2**60,
        )
        if number % 3 == 0:
            limit = int(2 ** draw.uniform(10, 24))
        else:
            size = draw.choice([1 << exponent for exponent in range(case.bound.bit_length())])
            limit = int(peak_at(case, size) * draw.choice([0.9, 1.0, 1.0, 1.1, 1.5]))
        yield replace(case, limit_bytes=max(limit, 1))


def attempt_at(case: Case, size: int) -> Any:
    """An attempt of probe's; None where the task itself refuses the size (batch normalization at 1)."""
    try:
        return probe.batch.attempt.run_attempt(
            case.task(),
            case.settings(size),
            device=SimulatedDevice(case.limit_bytes),
            plan=Plan(size, "size"),
            seed=case.number,
            confirm_steps=1,
            confirm_seconds=0.0,
        )
    except ProbeError:
        return None


def peak_at(case: Case, size: int) -> int:
    found = attempt_at(case, size)
    return 4096 if found is None or found.memory is None else int(found.memory.peak_allocated_bytes)


def fits_at(case: Case, size: int) -> bool:
    found = attempt_at(case, size)
    return found is not None and bool(found.fits)


def truth_of(case: Case) -> int | None:
    sizes = [1 << exponent for exponent in range(case.bound.bit_length())]
    return max((size for size in sizes if fits_at(case, size)), default=None)


def ask_probe(case: Case, *, predict: bool) -> Answer:
    result, _ = probe_batch_size(
        case.task(),
        params=case.optimizer,
        device=f"simulated:{case.limit_bytes}",
        start=None if predict else case.start,
        max=case.max,
        seed=case.number,
        predict=predict,
        in_process=True,
        confirm_steps=4,
        confirm_seconds=0.0,
    )
    return Answer(
        size=result.largest_fit,
        attempts=sum(attempt.purpose == "size" for attempt in result.attempts),
        ran={attempt.batch_size for attempt in result.attempts if attempt.fits},
    )


def ask_accelerate(case: Case) -> Answer:
    from accelerate.utils import find_executable_batch_size

    answer = Answer(size=None, attempts=0)
    data = TensorDataset(*case.data())
    device = SimulatedDevice(case.limit_bytes)

    @find_executable_batch_size(starting_batch_size=min(case.start, case.max or case.start))  # type: ignore[untyped-decorator,unused-ignore]  # theirs
    def train(batch_size: int) -> int:
        answer.attempts += 1
        torch.manual_seed(case.number)
        model = case.build()
        optimizer = make_optimizer(model.parameters(), case.settings(batch_size))
        seen = 0
        while seen < 3:
            for inputs, targets in DataLoader(data, batch_size=batch_size):
                optimizer.zero_grad()
                torch.autograd.backward(nn.functional.cross_entropy(model(inputs.clone()), targets.clone()))
                optimizer.step()
                answer.ran.add(len(targets))
                seen += 1
                if seen == 3:
                    break
        return batch_size

    with device.track():
        answer.size = crash_is_an_answer(train, answer)
    return answer


def ask_lightning(case: Case) -> Answer:
    import lightning.pytorch as pl
    from lightning.pytorch.tuner.tuning import Tuner

    answer = Answer(size=None, attempts=0)
    data = TensorDataset(*case.data())

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(case.number)
            self.model = case.build()
            self.batch_size = min(case.start, case.max or case.start)

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            inputs, targets = batch
            return nn.functional.cross_entropy(self.model(inputs.clone()), targets.clone())

        def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
            answer.ran.add(len(batch[1]))

        def on_train_start(self) -> None:
            answer.attempts += 1

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return make_optimizer(self.model.parameters(), case.settings(1))

        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(data, batch_size=self.batch_size)

    def tune(folder: str) -> int | None:
        module = Module()
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        most = 8192 if case.max is None else case.max  # 8192 is the default
        return Tuner(trainer).scale_batch_size(
            module, mode="power", init_val=module.batch_size, steps_per_trial=3, max_val=most
        )

    with tempfile.TemporaryDirectory() as folder, SimulatedDevice(case.limit_bytes).track():
        answer.size = crash_is_an_answer(lambda: tune(folder), answer)
    return answer


def crash_is_an_answer(ask: Callable[[], Any], answer: Answer) -> int | None:
    try:
        found = ask()
    except Exception as error:
        answer.crashed = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:90]}"
        return None
    return None if found is None else int(found)


@dataclass
class Score:
    name: str
    counts: dict[str, int] = field(default_factory=dict)
    attempts: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, case: Case, truth: int | None, answer: Answer, *, is_ours: bool) -> None:
        verdict = judge(case, truth, answer)
        self.counts[verdict] = self.counts.get(verdict, 0) + 1
        self.attempts.append(answer.attempts)
        is_wrong = verdict != "right" if is_ours else verdict not in ("right", "smaller")
        if is_wrong:
            said = answer.crashed or answer.size
            self.wrong.append(
                f"case {case.number} ({case.model}, {case.num_samples} samples, start {case.start}, max {case.max}, "
                f"{case.limit_bytes:,} B): the truth is {truth}, said {said}: {verdict}"
            )


def judge(case: Case, truth: int | None, answer: Answer) -> str:
    if answer.crashed is not None:
        return "right" if truth is None else "crashed"
    if answer.size == truth:
        return "right" if truth is None or truth in answer.ran else "never ran"
    if answer.size is None:
        return "crashed"
    if answer.size > case.bound:
        return "beyond the bounds"
    if answer.size not in answer.ran:
        return "never ran"
    if not fits_at(case, answer.size):
        return "does not fit"
    return "smaller" if truth is None or answer.size < truth else "right"  # larger, and no power of two


VERDICTS = ("right", "smaller", "never ran", "does not fit", "beyond the bounds", "crashed")


def table(scores: list[Score], num_cases: int, seed: int) -> str:
    lines = [
        f"{num_cases} cases, seed {seed}; torch {torch.__version__}, one thread, simulated limits.",
        "",
        f"| finder | {' | '.join(VERDICTS)} | wrong | median attempts | most |",
        "|---" + "|--:" * (len(VERDICTS) + 3) + "|",
    ]
    for score in scores:
        counts = " | ".join(str(score.counts.get(verdict, 0)) for verdict in VERDICTS)
        lines.append(
            f"| {score.name} | {counts} | {len(score.wrong)} | {statistics.median(score.attempts):g} "
            f"| {max(score.attempts)} |"
        )
    for score in scores:
        if score.wrong:
            lines += ["", f"The first wrong answers of {score.name}:", ""]
            lines += [f"- {line}" for line in score.wrong[:5]]
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def quick_and_quiet() -> Iterator[None]:
    """Attempts that hardly time anything, and peers that do not talk."""
    quick = probe.batch.attempt._QUICK
    probe.batch.attempt._QUICK = replace(quick, min_steps=1, max_steps=1)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    probe.batch.attempt._QUICK = quick


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=320)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    finders: dict[str, Callable[[Case], Answer]] = {
        "probe, predicted": lambda case: ask_probe(case, predict=True),
        "probe, unpredicted": lambda case: ask_probe(case, predict=False),
    }
    peers: dict[str, tuple[str, Callable[[Case], Answer]]]
    peers = {"lightning": ("Lightning", ask_lightning), "accelerate": ("accelerate", ask_accelerate)}
    for package, (name, ask) in peers.items():
        try:
            importlib.import_module(package)
        except ImportError:
            print(f"{package} is not installed: left out", file=sys.stderr)
        else:
            finders[name] = ask
    gc.freeze()  # every attempt ends with a full collection, which would visit all of these packages
    scores = {name: Score(name) for name in finders}
    with quick_and_quiet():
        for case in make_cases(options.cases, options.seed):
            truth = truth_of(case)
            for name, ask in finders.items():
                scores[name].add(case, truth, ask(case), is_ours=name.startswith("probe"))
                gc.collect()
            if case.number % 20 == 19:
                print(
                    f"{case.number + 1} cases, wrong: { {name: len(s.wrong) for name, s in scores.items()} }",
                    flush=True,
                )
    gc.unfreeze()
    text = table(list(scores.values()), options.cases, options.seed)
    print(text)
    if options.markdown is not None:
        command = "`python benchmarks/batch_correctness.py`"
        options.markdown.write_text(f"# Right batch sizes\n\n{command}\n\n{text}")


if __name__ == "__main__":
    main()
