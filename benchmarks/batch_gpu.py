"""Compare predicted with measured memory on a real GPU, and measure the cost of finding a batch size there.

    python benchmarks/batch_gpu.py [--all] [--minutes 20] [--cases cases.jsonl] [--markdown FILE]

It needs PyTorch, torchvision and probe's sources, but neither optuna nor pydantic nor ray. Peers (Lightning, accelerate) are
timed if they are installed. For each model, precision and limit (`probe batch --memory 8GiB`: the GPU emulates a smaller one),
one sweep gives the predicted and the found power of two, predicted and measured peaks (allocated and reserved) at the sizes
that were tried, and the number of attempts and seconds.

Each finished case is a line of --cases. Run the script again to continue an interrupted run. It does not start cases that would
end after --minutes, and lists them as missing. With --device simulated:SIZE, --models, --img and --limits it runs on a CPU, to
test the script itself.

Goals: the same power of two in at least 95 % of the cases and never more than one step off; allocated peaks within 5 % for
convolutions and within 10 % for attention.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from probe.batch.find import find_batch_size
from probe.batch.records import BatchResult
from probe.batch.sweep import SweepOptions
from probe.errors import ProbeError
from probe.tasks.source import NamedSource
from probe.units import format_bytes, format_gpu_memory, format_percent, format_seconds, parse_bytes

MODELS = ("resnet50", "vit_b_16", "densenet121", "swin_t", "efficientnet_b0", "convnext_tiny")
MORE_MODELS = ("resnet18", "mobilenet_v3_large", "vgg16_bn", "regnet_y_3_2gf", "swin_v2_t", "vit_l_16", "maxvit_t")
ATTENTION = ("vit", "swin", "maxvit")
PEERS_ON = ("resnet50", "vit_b_16", "densenet121")
LIMITS = ("8GiB", "24GiB", "80GiB")
FAKE_NOTE = """Made without a GPU, under the driver of tests/fake_cuda. Sizes of tensors and the allocator are PyTorch's, for a
GPU like an H100 with compute capability 8.6. Kernels do nothing: times are the host's, and cuDNN takes no workspaces.

"""
TOLERANCE = {"convolutions": 0.05, "attention": 0.10}


@dataclass(frozen=True)
class Case:
    model: str
    precision: str
    limit: str
    image_size: int
    finder: str = "probe"


@dataclass(frozen=True)
class Peak:
    batch_size: int
    predicted_allocated: int
    measured_allocated: int
    predicted_reserved: int
    measured_reserved: int


@dataclass(frozen=True)
class Outcome:
    case: Case
    device: str
    found: int | None
    predicted: int | None
    peaks: tuple[Peak, ...]
    num_attempts: int
    seconds: float
    message: str = ""


def all_cases(models: Sequence[str], limits: Sequence[str], image_size: int, peers: Sequence[str]) -> Iterator[Case]:
    """Return the cases, most important first: all models at the smallest limit, larger limits, bf16, then the peers."""
    for limit in limits:
        for precision in ("fp32", "bf16"):
            for model in models:
                yield Case(model, precision, limit, image_size)
    for model in models:
        if model in PEERS_ON:
            for peer in peers:
                yield Case(model, "fp32", limits[0], image_size, peer)


def missing_cases(cases: Iterable[Case], done: Iterable[Outcome]) -> list[Case]:
    known = {outcome.case for outcome in done}
    return [case for case in cases if case not in known]


def read_outcomes(path: Path) -> list[Outcome]:
    """Read the cases of an interrupted run, whose last line may be incomplete."""
    outcomes = []
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            plain = json.loads(line)
            peaks = tuple(Peak(**peak) for peak in plain.pop("peaks"))
            outcomes.append(Outcome(case=Case(**plain.pop("case")), peaks=peaks, **plain))
    return outcomes


def measure(case: Case, device: str) -> Outcome:
    """Run one sweep for the size only, as the peers do."""
    is_simulated = device.startswith("simulated")
    error: ProbeError | None = None
    try:
        result = find_batch_size(
            NamedSource(model=case.model, image_size=case.image_size),
            params={"precision": case.precision},
            device=f"simulated:{case.limit}" if is_simulated else device,
            memory=None if is_simulated else case.limit,
            options=SweepOptions(size_only=True),
        )
    except ProbeError as raised:
        if raised.result is None:
            raise
        result, error = raised.result, raised
    return Outcome(
        case=case,
        device=result.meta.device.partition(" standing in")[0].partition(" under")[0],
        found=result.largest_fit,
        predicted=result.predictions[0].largest_fit if result.predictions else None,
        peaks=tuple(peaks_of(result)),
        num_attempts=len(result.attempts),
        seconds=result.seconds,
        message=str(error or (result.prediction_info and result.prediction_info.failure) or ""),
    )


def peaks_of(result: BatchResult) -> Iterator[Peak]:
    """Yield the peaks of sizes that fit and were predicted. Reserved memory excludes the context."""
    if result.prediction_info is None or not result.predictions:
        return
    predicted = {point.batch_size: point for point in result.prediction_info.curve}
    context_bytes = result.predictions[0].breakdown.context_bytes
    for attempt in result.attempts:
        point = predicted.get(attempt.batch_size)
        if attempt.fits and attempt.memory is not None and point is not None:
            yield Peak(
                batch_size=attempt.batch_size,
                predicted_allocated=point.allocated_bytes,
                measured_allocated=attempt.memory.peak_allocated_bytes,
                predicted_reserved=point.peak_bytes - context_bytes,
                measured_reserved=attempt.memory.peak_reserved_bytes,
            )


def measure_peer(case: Case, device: str) -> Outcome:
    """Run a peer's finder on the same model, in this process, under the same limit."""
    from probe.device.select import open_device, parse_device

    is_simulated = device.startswith("simulated")
    spec = parse_device(
        f"simulated:{case.limit}" if is_simulated else device, memory=None if is_simulated else case.limit
    )
    opened = open_device(spec, measuring_memory=True)
    started = time.perf_counter()
    with opened.track():
        ask = ask_accelerate if case.finder == "accelerate" else ask_lightning
        found, num_attempts, message = ask(case, opened.torch_device)
    opened.release()
    return Outcome(
        case=case,
        device=opened.name.partition(" standing in")[0].partition(" under")[0],
        found=found,
        predicted=None,
        peaks=(),
        num_attempts=num_attempts,
        seconds=time.perf_counter() - started,
        message=message,
    )


def ask_accelerate(case: Case, device: Any) -> tuple[int | None, int, str]:
    import torch
    from accelerate.utils import find_executable_batch_size

    task = NamedSource(model=case.model, image_size=case.image_size).build({})
    tried: list[int] = []

    @find_executable_batch_size(starting_batch_size=512)  # type: ignore[untyped-decorator,unused-ignore]  # theirs
    def train(batch_size: int) -> int:
        tried.append(batch_size)
        model = task.model().to(device)
        optimizer = torch.optim.AdamW(model.parameters())
        inputs = torch.randn(batch_size, 3, case.image_size, case.image_size, device=device)
        targets = torch.zeros(batch_size, dtype=torch.int64, device=device)
        for _ in range(3):
            optimizer.zero_grad()
            torch.autograd.backward(torch.nn.functional.cross_entropy(model(inputs), targets))
            optimizer.step()
        return batch_size

    try:
        return int(train()), len(tried), ""
    except RuntimeError as error:
        return None, len(tried), str(error).splitlines()[0]


def ask_lightning(case: Case, device: Any) -> tuple[int | None, int, str]:
    import lightning.pytorch as pl
    import torch
    from lightning.pytorch.tuner.tuning import Tuner
    from torch.utils.data import DataLoader

    task = NamedSource(model=case.model, image_size=case.image_size).build({})
    tried: list[int] = []

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = task.model()
            self.batch_size = 2

        def training_step(self, batch: Any, index: int) -> Any:
            return torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def on_train_start(self) -> None:
            tried.append(self.batch_size)

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.model.parameters())

        def train_dataloader(self) -> Any:
            return DataLoader(task.train, batch_size=self.batch_size)

    on_gpu = device.type == "cuda"
    trainer = pl.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=[device.index or 0] if on_gpu else 1,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    found = Tuner(trainer).scale_batch_size(Module(), mode="power")
    return found, len(tried), ""


def step_difference(predicted: int, found: int) -> int:
    """Return the number of doublings between predicted and found size; positive if the prediction was too large."""
    return predicted.bit_length() - found.bit_length()


def kind_of(model: str) -> str:
    return "attention" if model.startswith(ATTENTION) else "convolutions"


def report(outcomes: Sequence[Outcome], missing: Sequence[Case]) -> str:
    """Return the tables as Markdown. Pure."""
    ours = [outcome for outcome in outcomes if outcome.case.finder == "probe"]
    lines = ["## Predicted and found", "", *summary(ours), ""]
    lines += ["| model | precision | limit | predicted | found | attempts | time | allocated | reserved |"]
    lines += ["|---|---|--:|--:|--:|--:|--:|--:|--:|", *map(row, ours)]
    peers = [outcome for outcome in outcomes if outcome.case.finder != "probe"]
    if peers:
        lines += [
            "",
            "## The peers",
            "",
            "| finder | model | limit | found | attempts | time |",
            "|---|---|--:|--:|--:|--:|",
        ]
        for outcome in [*(one for one in ours if any(matches(one, peer) for peer in peers)), *peers]:
            case = outcome.case
            lines.append(
                f"| {case.finder} | {case.model} | {format_gpu_memory(parse_bytes(case.limit))} "
                f"| {outcome.found or outcome.message or 'nothing'} | {outcome.num_attempts} "
                f"| {format_seconds(outcome.seconds)} |"
            )
    if missing:
        named = ", ".join(f"{case.finder} {case.model} {case.precision} {case.limit}" for case in missing)
        lines += ["", f"Not measured for want of time: {named}."]
    return "\n".join(lines) + "\n"


def matches(one: Outcome, other: Outcome) -> bool:
    mine, theirs = one.case, other.case
    return (mine.model, mine.precision, mine.limit) == (theirs.model, theirs.precision, theirs.limit)


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    both = [one for one in outcomes if one.predicted is not None and one.found is not None]
    steps = [step_difference(one.predicted or 1, one.found or 1) for one in both]
    lines = [f"Device: {', '.join(sorted({one.device for one in outcomes})) or 'none'}. {len(outcomes)} cases."]
    if both:
        equal = sum(step == 0 for step in steps)
        lines.append(
            f"The same power of two in {equal} of {len(both)} ({format_percent(equal / len(both), decimals=0)}); at most "
            f"{max(map(abs, steps))} steps off; attempts: median {statistics.median(one.num_attempts for one in both):g}."
        )
    for kind, tolerance in TOLERANCE.items():
        errors = [
            error_of(peak.predicted_allocated, peak.measured_allocated)
            for one in outcomes
            if kind_of(one.case.model) == kind
            for peak in one.peaks
        ]
        if errors:
            within = sum(abs(error) <= tolerance for error in errors)
            lines.append(
                f"Allocated peaks, {kind}: {within} of {len(errors)} within {format_percent(tolerance, decimals=0)}, median "
                f"{format_percent(statistics.median(errors), decimals=1)}, from {format_percent(min(errors), decimals=1)} to "
                f"{format_percent(max(errors), decimals=1)}."
            )
    return lines


def error_of(predicted: int, measured: int) -> float:
    return predicted / measured - 1 if measured else 0.0


def row(outcome: Outcome) -> str:
    case = outcome.case
    last = max(outcome.peaks, key=lambda peak: peak.batch_size, default=None)
    cells = ["", ""]
    if last is not None:
        pairs = (
            (last.predicted_allocated, last.measured_allocated),
            (last.predicted_reserved, last.measured_reserved),
        )
        cells = [
            f"{format_bytes(measured)} ({100 * error_of(predicted, measured):+.1f} %)" for predicted, measured in pairs
        ]
    found = str(outcome.found) if outcome.found is not None else outcome.message or "nothing fits"
    return (
        f"| {case.model} | {case.precision} | {format_gpu_memory(parse_bytes(case.limit))} | {outcome.predicted or '-'} "
        f"| {found} | {outcome.num_attempts} | {format_seconds(outcome.seconds)} | {' | '.join(cells)} |"
    )


def installed_peers() -> list[str]:
    found = []
    for package in ("lightning", "accelerate"):
        with contextlib.suppress(ImportError):
            importlib.import_module(package)
            found.append(package)
    return found


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--all", action="store_true", help="more models")
    parser.add_argument("--models", help="these models, separated by commas")
    parser.add_argument("--img", type=int, default=224)
    parser.add_argument("--limits", default=",".join(LIMITS), help="memory of the cards that the GPU stands in for")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument(
        "--cases", type=Path, default=Path("batch_gpu_cases.jsonl"), help="where finished cases are kept"
    )
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    models = tuple(options.models.split(",")) if options.models else MODELS + (MORE_MODELS if options.all else ())
    peers = [] if options.no_peers else installed_peers()
    cases = list(all_cases(models, options.limits.split(","), options.img, peers))
    outcomes = read_outcomes(options.cases)
    started, longest = time.monotonic(), 0.0
    for case in missing_cases(cases, outcomes):
        began = time.monotonic()
        if began - started + longest > 60 * options.minutes:
            break
        run = measure if case.finder == "probe" else measure_peer
        outcome = run(case, options.device)
        longest = max(longest, time.monotonic() - began)
        outcomes.append(outcome)
        with options.cases.open("a") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
        print(row(outcome), flush=True)
    asked = [outcome for outcome in outcomes if outcome.case in cases]
    text = report(asked, missing_cases(cases, outcomes))
    print(text)
    if options.markdown is not None:
        command = f"`python benchmarks/batch_gpu.py {' '.join(sys.argv[1:])}`"
        note = FAKE_NOTE if "FAKE_GPU_STATE" in os.environ else ""
        options.markdown.write_text(f"# Batch sizes on a GPU\n\n{command}\n\n{note}{text}")


if __name__ == "__main__":
    main()
