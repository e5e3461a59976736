"""Check the batch sizes that finders return on random small models, optimizers, limits and data sets.

    python benchmarks/batch_correctness.py [--cases 320] [--seed 0] [--markdown FILE]

Each case trains on the CPU under a simulated memory limit (SimulatedDevice). The true answer is the largest power of two that
fits, found by trying all of them up to `max` and the size of the data set. Five finders are compared:

probe, predicted    starts at the predicted size
probe, unpredicted  starts at the first size of the case, which may be any number
Lightning           Tuner.scale_batch_size(mode="power") from the first size of the case, at most `max`, and `max_val`
Lightning, from 2   the same from its default `init_val`
accelerate          find_executable_batch_size from the first size of the case, at most `max`. By design it only reduces the
                    size, by a tenth at a time, and does not know the data set, so answers that are too small, or larger than
                    the data set, are not errors of accelerate

Each peer is compared with its own training loop: its true answer is the largest power of two at which that loop, without the
finder, trains three steps (Lightning's loop takes somewhat more memory than probe's). As in probe, batches on the host are not
counted, are copied to the device once, and a single sample at the end of the data is skipped. Limits are exact to the byte:
Lightning may crash because of 8 bytes of its own on a full device, which a real GPU might have had.

Columns; an answer can count in several of them:
  right      the true answer; from a start that is not a power of two, also a larger size that ran and fits; if nothing fits,
             the statement that nothing fits
  smaller    a size that ran, fits, is within the bounds, and is smaller than the true answer
  never ran  no batch of the returned size was trained on during the search
  no fit     the finder's own loop runs out of memory at the returned size
  > data     larger than the data set
  > max      larger than `max`
  crashed    the finder raised although a size fits
Wrong: never ran, no fit, > data, > max or crashed; for probe, everything that is not right.
Attempts: number of trainings that were started to find the size; for probe, attempts with purpose "size".
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.metadata
import importlib.util
import logging
import math
import random
import statistics
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import probe.batch.attempt
import probe.batch.decide
from probe.batch.decide import NextAttempt, duration_of
from probe.batch.find import find_batch_size
from probe.batch.records import BatchResult
from probe.batch.task_samples import rank_samples
from probe.device.simulated import SimulatedDevice
from probe.errors import ProbeError
from probe.task import Task
from probe.training.optimizers import make_optimizer
from probe.training.settings import TrainerSettings

NUM_STEPS = 3
"""Training steps of a peer at one size, as is Lightning's default. The optimizer's state is allocated in the first."""
Data = tuple[Tensor, Tensor]
OPTIMIZERS: tuple[dict[str, Any], ...] = (
    {"optimizer": "sgd"},
    {"optimizer": "sgd", "momentum": 0.9},
    {"optimizer": "adam"},
    {"optimizer": "adamw"},
    {"optimizer": "rmsprop"},
    {"optimizer": "adagrad"},
)


class Tokens(nn.Module):
    """The mean of word embeddings, or an LSTM or Transformer layer over them."""

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
    optimizer: dict[str, Any] = field(hash=False)
    num_samples: int
    start: int
    max: int | None
    limit_bytes: int

    @property
    def bound(self) -> int:
        return min(self.num_samples, self.max or self.num_samples)

    @property
    def first_size(self) -> int:
        return self.start if self.max is None else min(self.start, self.max)

    def build(self) -> nn.Module:
        if self.model == "mlp":
            return mlp(self.width, self.depth, self.normalized)
        if self.model == "cnn":
            return cnn(self.width, self.depth, self.normalized)
        return Tokens(self.model, self.width)

    def data(self) -> Data:
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


class HostBatches(Dataset[Data]):
    """Batches in order, as views of the data. Like batches of a DataLoader, they take no memory of the device."""

    def __init__(self, data: Data, batch_size: int) -> None:
        inputs, targets = data
        num_used = len(targets) - (batch_size > 1 and len(targets) % batch_size == 1)
        self.inputs, self.targets = inputs[:num_used], targets[:num_used]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitems__(self, indices: list[int]) -> Data:
        chosen = slice(indices[0], indices[-1] + 1)
        return self.inputs[chosen], self.targets[chosen]


def loader(data: Data, batch_size: int) -> DataLoader[Any]:
    return DataLoader(HostBatches(data, batch_size), batch_size=batch_size, collate_fn=lambda batch: batch)


@dataclass
class Answer:
    size: int | None
    attempts: int
    ran: set[int] = field(default_factory=set)
    """Batch sizes that completed at least one step; for probe, a whole attempt."""
    num_others: int = 0
    """Number of probe's attempts for the throughput curve and the confirmation."""
    crashed: str | None = None


Trial = Callable[[Case, int], bool]
"""Returns whether a finder's own training loop can train at a size."""


def make_cases(count: int, seed: int) -> Iterator[Case]:
    """Draw a third of the limits from 1 KiB to 16 MiB, and the others close to the peak of one size."""
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
            size = draw.choice(powers(case))
            limit = int(peak_at(case, size) * draw.choice([0.9, 1.0, 1.0, 1.1, 1.5]))
        yield replace(case, limit_bytes=max(limit, 1))


def attempt_at(case: Case, size: int) -> Any:
    """Make an attempt with probe; None if the task breaks its contract."""
    task = case.task()
    try:
        return probe.batch.attempt.run_attempt(
            task,
            case.settings(size),
            NextAttempt(size, "size"),
            device=SimulatedDevice(case.limit_bytes),
            seed=case.number,
            rankings=rank_samples(task, seed=case.number),
            duration=duration_of("size", 1, 0.0),
        )
    except ProbeError:
        return None


def peak_at(case: Case, size: int) -> int:
    found = attempt_at(case, size)
    return 4096 if found is None or found.memory is None else int(found.memory.peak_allocated_bytes)


@lru_cache(maxsize=64)
def fits_at(case: Case, size: int) -> bool:
    found = attempt_at(case, size)
    return found is not None and bool(found.fits)


def powers(case: Case) -> list[int]:
    return [1 << exponent for exponent in range(case.bound.bit_length())]


def truth_of(case: Case) -> int | None:
    return max((size for size in powers(case) if fits_at(case, size)), default=None)


def partial_result(task: Task, **options: Any) -> BatchResult:
    """Run a sweep and return its result, even if an error ended it."""
    try:
        return find_batch_size(task, **options)
    except ProbeError as error:
        if not isinstance(error.result, BatchResult):
            raise
        return error.result


def ask_probe(case: Case, *, predict: bool) -> Answer:
    result = partial_result(
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
        num_others=sum(attempt.purpose != "size" for attempt in result.attempts),
    )


def train_plainly(case: Case, data: Data, batch_size: int, ran: set[int]) -> None:
    """Train three steps, with the decorator as in accelerate's documentation."""
    torch.manual_seed(case.number)
    model = case.build()
    optimizer = make_optimizer(model.parameters(), case.settings(batch_size))
    num_steps = 0
    while num_steps < NUM_STEPS:
        for on_host in loader(data, batch_size):
            inputs, targets = (tensor.clone() for tensor in on_host)
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(model(inputs), targets))
            optimizer.step()
            ran.add(len(targets))
            num_steps += 1
            if num_steps == NUM_STEPS:
                break


def ask_accelerate(case: Case) -> Answer:
    from accelerate.utils import find_executable_batch_size

    answer = Answer(size=None, attempts=0)
    data = case.data()

    @find_executable_batch_size(starting_batch_size=case.first_size)  # type: ignore[untyped-decorator,unused-ignore]  # theirs
    def train(batch_size: int) -> int:
        answer.attempts += 1
        train_plainly(case, data, batch_size, answer.ran)
        return batch_size

    with SimulatedDevice(case.limit_bytes).track():
        answer.size = crash_is_an_answer(train, answer)
    return answer


def lightning_parts(
    case: Case, data: Data, batch_size: int, answer: Answer, folder: str, **trainer: Any
) -> tuple[Any, Any]:
    """Make a module and a trainer that trains it until it is stopped."""
    import lightning.pytorch as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(case.number)
            self.model = case.build()
            self.batch_size = batch_size

        def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
            return tuple(tensor.clone() for tensor in batch)

        def training_step(self, batch: Any, index: int) -> Tensor:
            inputs, targets = batch
            return nn.functional.cross_entropy(self.model(inputs), targets)

        def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
            answer.ran.add(len(batch[1]))

        def on_train_start(self) -> None:
            answer.attempts += 1

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return make_optimizer(self.model.parameters(), case.settings(1))

        def train_dataloader(self) -> DataLoader[Any]:
            return loader(data, self.batch_size)

    return Module(), pl.Trainer(
        accelerator="cpu",
        max_epochs=-1,  # an epoch may have fewer steps than a trial
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **trainer,
    )


def ask_lightning(case: Case, start: int | None = None) -> Answer:
    """Run Lightning's finder from `start`; None for the first size of the case."""
    from lightning.pytorch.tuner.tuning import Tuner

    answer = Answer(size=None, attempts=0)
    data = case.data()
    first_size = start or case.first_size

    def tune(folder: str) -> int | None:
        module, trainer = lightning_parts(case, data, first_size, answer, folder)
        most = 8192 if case.max is None else case.max  # 8192 is the default
        found: int | None = Tuner(trainer).scale_batch_size(
            module, mode="power", init_val=first_size, steps_per_trial=NUM_STEPS, max_val=most
        )
        return found

    with tempfile.TemporaryDirectory() as folder, SimulatedDevice(case.limit_bytes).track():
        answer.size = crash_is_an_answer(lambda: tune(folder), answer)
    return answer


@lru_cache(maxsize=64)
def runs_plainly(case: Case, size: int) -> bool:
    data = case.data()
    return runs(case, lambda: train_plainly(case, data, size, set()))


@lru_cache(maxsize=64)
def runs_in_lightning(case: Case, size: int) -> bool:
    data = case.data()

    def train() -> None:
        nothing = Answer(size=None, attempts=0)
        module, trainer = lightning_parts(case, data, size, nothing, folder, max_steps=NUM_STEPS)
        trainer.fit(module)

    with tempfile.TemporaryDirectory() as folder:
        return runs(case, train)


def runs(case: Case, train: Callable[[], None]) -> bool:
    """Return whether a peer's own loop, without its finder, trains under the limit. Other errors are raised."""
    try:
        with SimulatedDevice(case.limit_bytes).track():
            train()
    except (torch.OutOfMemoryError, ValueError) as error:
        if isinstance(error, ValueError) and "more than 1 value per channel" not in str(error):
            raise
        return False  # out of memory, or batch normalization of a single sample
    return True


def truth_of_peer(case: Case, truth: int | None, trial: Trial) -> int | None:
    """Return the largest power of two at which the peer's own loop trains, searching from probe's answer."""
    size = truth or 1
    while 2 * size <= case.bound and trial(case, 2 * size):
        size *= 2
    while size >= 1 and not trial(case, size):
        size //= 2
    return size or None


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
    counts: Counter[str] = field(default_factory=Counter)
    attempts: list[int] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    powers_too_small: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, case: Case, truth: int | None, answer: Answer, trial: Trial) -> None:
        verdicts = judge(case, truth, answer, trial)
        self.counts.update(verdicts)
        self.attempts.append(answer.attempts)
        self.others.append(answer.num_others)
        if verdicts == {"smaller"} and truth is not None and answer.size is not None:
            self.powers_too_small.append(math.log2(truth / answer.size))
        if verdicts - ({"right"} if self.is_ours else {"right", "smaller"}):
            said = answer.crashed or answer.size
            self.wrong.append(
                f"case {case.number} ({case.model}, {case.num_samples} samples, start {case.start}, max {case.max}, "
                f"{case.limit_bytes:,} B): the truth is {truth}, said {said}: {', '.join(sorted(verdicts))}"
            )

    def remarks(self) -> list[str]:
        lines = []
        if self.is_ours:
            others = f"{statistics.median(self.others):g} in the median, {max(self.others)} at most"
            lines.append(f"- {self.name}: attempts for the throughput curve and the confirmation: {others}.")
        if self.powers_too_small:
            middle, most = statistics.median(self.powers_too_small), max(self.powers_too_small)
            lines.append(
                f"- {self.name}, where smaller: by {middle:.1f} powers of two in the median, {most:.1f} at most."
            )
        return lines

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("probe")


def judge(case: Case, truth: int | None, answer: Answer, trial: Trial) -> set[str]:
    size = answer.size
    if size is None:
        return {"right" if truth is None else "crashed"}
    faults = {
        "never ran": size not in answer.ran,
        "no fit": not trial(case, size),
        "> data": size > case.num_samples,
        "> max": case.max is not None and size > case.max,
    }
    found = {name for name, is_true in faults.items() if is_true}
    if found:
        return found
    return {"smaller" if truth is not None and size < truth else "right"}


VERDICTS = ("right", "smaller", "never ran", "no fit", "> data", "> max", "crashed")


def table(scores: list[Score], facts: ProbeInfo, num_cases: int, seed: int) -> str:
    lines = [
        f"{num_cases} cases, seed {seed}; torch {torch.__version__}, {versions()}one thread, simulated limits.",
        "",
        f"| finder | cases | {' | '.join(VERDICTS)} | wrong | median attempts | most |",
        "|---" + "|--:" * (len(VERDICTS) + 4) + "|",
    ]
    for score in scores:
        counts = " | ".join(str(score.counts[verdict]) for verdict in VERDICTS)
        lines.append(
            f"| {score.name} | {num_cases} | {counts} | {len(score.wrong)} | {statistics.median(score.attempts):g} "
            f"| {max(score.attempts)} |"
        )
    lines += ["", NOTE, "", *facts.lines(num_cases), *(line for score in scores for line in score.remarks())]
    for score in scores:
        if score.wrong:
            lines += ["", f"The first wrong answers of {score.name}:", ""]
            lines += [f"- {line}" for line in score.wrong[:5]]
    return "\n".join(lines) + "\n"


NOTE = """An answer can count in several columns: *never ran*, no batch of that size was trained on during the search; *no fit*,
the finder's own training loop runs out of memory at that size; *> data*, larger than the data set; *> max*, larger than `max`.
These and crashes are wrong; answers that are too small are wrong for probe only. A peer is right with the largest power
of two at which its own training loop fits. By design, accelerate only reduces the size, by a tenth at a time, and does not know
the data set, so its smaller answers and those larger than the data are not its errors. Most crashes of peers come from batch
normalization of a single sample, if the search starts at 1. Lightning runs twice, since its answer depends on its first size:
from the first size of the case, which may be `max`, and from its default."""


@dataclass
class ProbeInfo:
    """Summarize the cases."""

    num_nothing_fits: int = 0
    num_gaps: int = 0
    other_truths: Counter[str] = field(default_factory=Counter)

    def add(self, case: Case, truth: int | None) -> None:
        self.num_nothing_fits += truth is None
        self.num_gaps += any(size < (truth or 0) and not fits_at(case, size) for size in powers(case))

    def lines(self, num_cases: int) -> list[str]:
        return [
            f"- Nothing fits in {self.num_nothing_fits} cases; in {self.num_gaps} a size fails below one that fits.",
            *(
                f"- The largest power of two for {name}'s own loop is another than for probe's in {count} of {num_cases}."
                for name, count in self.other_truths.items()
            ),
        ]


def versions() -> str:
    return "".join(
        f"{name} {importlib.metadata.version(name)}, "
        for name in ("lightning", "accelerate")
        if importlib.util.find_spec(name) is not None
    )


@contextlib.contextmanager
def quick_and_quiet() -> Iterator[None]:
    """Shorten the timing of attempts, and silence the peers."""
    quick = probe.batch.decide.QUICK
    probe.batch.decide.QUICK = replace(quick, min_steps=1, max_steps=1)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    probe.batch.decide.QUICK = quick


@dataclass(frozen=True)
class Finder:
    name: str
    ask: Callable[[Case], Answer]
    trial: Trial
    package: str = "probe"


FINDERS = (
    Finder("probe, predicted", lambda case: ask_probe(case, predict=True), fits_at),
    Finder("probe, unpredicted", lambda case: ask_probe(case, predict=False), fits_at),
    Finder("Lightning", ask_lightning, runs_in_lightning, "lightning"),
    Finder("Lightning, from 2", lambda case: ask_lightning(case, 2), runs_in_lightning, "lightning"),
    Finder("accelerate", ask_accelerate, runs_plainly, "accelerate"),
)


def present_finders() -> list[Finder]:
    """Return the peers whose packages are installed, and import these."""
    present = []
    for finder in FINDERS:
        try:
            importlib.import_module(finder.package)
        except ImportError:
            print(f"{finder.package} is not installed: {finder.name} is left out", file=sys.stderr)
        else:
            present.append(finder)
    return present


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=320)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    finders = present_finders()
    gc.freeze()  # each attempt ends with a full collection, which would traverse all of these packages
    scores = {finder.name: Score(finder.name) for finder in finders}
    facts = ProbeInfo()
    with quick_and_quiet():
        for case in make_cases(options.cases, options.seed):
            truth = truth_of(case)
            facts.add(case, truth)
            truths = {"probe": truth}
            for finder in finders:
                if finder.package not in truths:
                    truths[finder.package] = truth_of_peer(case, truth, finder.trial)
                    facts.other_truths[finder.package] += truths[finder.package] != truth
                scores[finder.name].add(case, truths[finder.package], finder.ask(case), finder.trial)
                gc.collect()
            if case.number % 20 == 19:
                print(
                    f"{case.number + 1} cases, wrong: { {name: len(s.wrong) for name, s in scores.items()} }",
                    flush=True,
                )
    gc.unfreeze()
    text = table(list(scores.values()), facts, options.cases, options.seed)
    print(text)
    if options.markdown is not None:
        command = "`python benchmarks/batch_correctness.py`"
        options.markdown.write_text(f"# Right batch sizes\n\n{command}\n\n{text}")


if __name__ == "__main__":
    main()
