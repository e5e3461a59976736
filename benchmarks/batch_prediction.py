"""Compare predicted memory with the bytes that training allocates, and measure the cost of a prediction.

    python benchmarks/batch_prediction.py [--markdown FILE] [--only exact|kinds|all]

exact: torchvision models x {SGD with momentum, AdamW} x 3 batch sizes. SimulatedDevice measures real training on the CPU (two
       steps and an evaluation step) and counts every storage. The peer, in the same run, is a line through the peaks measured
       at batch sizes 1 and 2, as used by batch finders.
kinds: tasks whose memory is not linear in the batch size (prediction_kinds.py), predicted as by `probe batch`: the largest
       batch for the limit in bytes at which batch 64 just fits, and for one byte less. The same peer.
all:   every classification model of torchvision at its usual image size, predicted for a GPU: whether it can be traced, the CPU
       time of the prediction in a process that has imported PyTorch, and the result.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from prediction_kinds import KINDS

from probe.batch.prediction.build_memory_model import build_memory_model
from probe.batch.prediction.memory_model import MemoryModel, Untraceable
from probe.batch.prediction.predict import TargetGpus, predict_batch_sizes
from probe.batch.task_samples import load_batch, rank_samples
from probe.device.simulated import SimulatedDevice
from probe.loading.trees import map_tensors
from probe.task import Task
from probe.tasks.source import NamedSource
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings
from probe.units import format_bytes, format_percent

IMAGE_SIZE = 64
KIND_BATCH_SIZE = 64
BATCH_SIZES = (3, 9, 24)
MODELS = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mnasnet0_5",
    "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf",
    "resnet18", "resnet34", "resnet50", "resnext50_32x4d", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "squeezenet1_1",
    "swin_t", "swin_v2_t", "vgg11_bn", "vit_b_16",
)  # fmt: skip
OPTIMIZERS: dict[str, dict[str, object]] = {
    "sgd": {"optimizer": "sgd", "momentum": 0.9},
    "adamw": {"optimizer": "adamw"},
}
USUAL_SIZES = {"inception_v3": 299}


@dataclass(frozen=True)
class Case:
    model: str
    optimizer: str
    batch_size: int
    measured: int
    predicted: int
    line: int


def measured_peak(source: NamedSource, params: dict[str, object], batch_size: int) -> int:
    return measured_peak_of(source.build({}), params, batch_size)


def measured_peak_of(task: Task, params: dict[str, object], batch_size: int) -> int:
    settings = TrainerSettings.for_task(task, params | {"batch_size": batch_size})
    device = SimulatedDevice(2**60)
    on_host = load_batch(task, task.train, rank_samples(task, seed=0)[0].largest(batch_size)[0])
    with device.track():
        run = TrainingRun(task, settings, device=device, seed=0)
        batch = map_tensors(lambda tensor: tensor.to("cpu", copy=True), on_host)
        run.model.train()
        for _ in range(2):
            run.train_step(batch)
        run.eval_step(batch)
    return device.read_memory().peak_allocated_bytes


def exact_cases(models: tuple[str, ...]) -> Iterator[Case]:
    for model in models:
        source = NamedSource(model=model, image_size=IMAGE_SIZE)
        for optimizer, params in OPTIMIZERS.items():
            profile = build_memory_model(source, params=params, target="simulated", in_process=True)
            if isinstance(profile, Untraceable):
                raise TypeError(f"{model}: {profile.reason}")
            first, second = (measured_peak(source, params, size) for size in (1, 2))
            for size in BATCH_SIZES:
                yield Case(
                    model=model,
                    optimizer=optimizer,
                    batch_size=size,
                    measured=measured_peak(source, params, size),
                    predicted=profile.live_peak_bytes(size),
                    line=first + (second - first) * (size - 1),
                )
            gc.collect()


def exact_part() -> list[str]:
    rows = []
    for case in exact_cases(MODELS):
        print(case, flush=True)
        rows.append(case)
    errors = [case.predicted / case.measured - 1 for case in rows]
    line_errors = [case.line / case.measured - 1 for case in rows]
    equal = sum(case.predicted == case.measured for case in rows)
    lines = [
        "## Predicted and measured live peak",
        "",
        f"{len(MODELS)} models x {len(OPTIMIZERS)} optimizers x batches of {', '.join(map(str, BATCH_SIZES))}, "
        f"images of {IMAGE_SIZE} x {IMAGE_SIZE}: {len(rows)} cases.",
        "",
        "| | equal to the byte | within 0.1 % | largest error | median error |",
        "|---|--:|--:|--:|--:|",
        _summary("prediction (traces of 4 and 8 samples, and of the size in question)", errors, equal),
        _summary("line through batches 1 and 2", line_errors, sum(case.line == case.measured for case in rows)),
        "",
        "| model | optimizer | batch | measured | predicted | error | line's error |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {case.model} | {case.optimizer} | {case.batch_size} | {case.measured:,} | {case.predicted:,} "
        f"| {format_percent(error, decimals=3)} | {format_percent(line_error, decimals=1)} |"
        for case, error, line_error in zip(rows, errors, line_errors, strict=True)
    ]
    return lines


def _summary(name: str, errors: list[float], equal: int) -> str:
    sizes = [abs(error) for error in errors]
    within = sum(size <= 0.001 for size in sizes)
    return (
        f"| {name} | {equal} of {len(errors)} | {within} of {len(errors)} | {format_percent(max(sizes), decimals=3)} "
        f"| {format_percent(statistics.median(sizes), decimals=3)} |"
    )


def kinds_part() -> list[str]:
    lines = []
    num_exact = num_answered = num_line = 0
    for kind in KINDS:
        task = kind.make()
        peak, smaller = (measured_peak_of(task, {}, size) for size in (KIND_BATCH_SIZE, KIND_BATCH_SIZE // 2))
        first, second = (measured_peak_of(task, {}, size) for size in (1, 2))
        line = first + (second - first) * (KIND_BATCH_SIZE - 1)
        wanted = (KIND_BATCH_SIZE, KIND_BATCH_SIZE // 2 if smaller < peak else None)
        started = time.process_time()
        answers = [_answer(task, limit_bytes) for limit_bytes in (peak, peak - 1)]
        seconds = (time.process_time() - started) / len(answers)
        found = tuple(size for size, _ in answers)
        predicted = answers[0][1]
        num_exact += predicted == peak
        num_answered += found[0] == wanted[0] and (found[1] == wanted[1] or wanted[1] is None)
        num_line += abs(line / peak - 1) <= 0.001
        lines.append(
            f"| {kind.name}{' (bound)' if kind.is_bound else ''} | {peak:,} | "
            f"{format_percent(predicted / peak - 1, decimals=2)} "
            f"| {found[0]} | {found[1]} | {seconds:.1f} | {format_percent(line / peak - 1, decimals=0)} |"
        )
        print(lines[-1], flush=True)
    return [
        "## Tasks whose memory is no line",
        "",
        f"The limit is what batch {KIND_BATCH_SIZE} takes, and one byte less, for which the answer must be "
        f"{KIND_BATCH_SIZE // 2}; AdamW unless the task has its own optimizer. The peak at batch {KIND_BATCH_SIZE} is equal to "
        f"the byte in {num_exact} of {len(KINDS)}, both answers are right in {num_answered}; a line through batches 1 and 2 is "
        f"within 0.1 % in {num_line}. A bound is of what the weights decide: the most that it can take.",
        "",
        "| kind | measured | error | answer | one byte less | seconds | line's error |",
        "|---|--:|--:|--:|--:|--:|--:|",
        *lines,
    ]


def _answer(task: Task, limit_bytes: int) -> tuple[int | None, int]:
    """Return the predicted largest batch, and the predicted peak at KIND_BATCH_SIZE."""
    gpus = TargetGpus(memory_bytes=(limit_bytes,))
    profile = build_memory_model(task, target="simulated", gpus=gpus, in_process=True)
    if isinstance(profile, Untraceable):
        raise TypeError(profile.reason)
    return predict_batch_sizes(profile, gpus)[1][0].largest_fit, profile.live_peak_bytes(KIND_BATCH_SIZE)


def all_part() -> list[str]:
    names = torchvision.models.list_models(module=torchvision.models)
    seconds, rows, failed = [], [], []
    for name in names:
        source = NamedSource(model=name, image_size=USUAL_SIZES.get(name, 224))
        started = time.process_time()
        found = build_memory_model(source, in_process=True)
        if isinstance(found, MemoryModel):
            answers = {one.memory_bytes: one for one in predict_batch_sizes(found)[1]}
            seconds.append(time.process_time() - started)
            at_24 = answers[24 * 2**30]
            rows.append(
                f"| {name} | {seconds[-1]:.1f} | {len(found.allocation_model.traces[-1].sizes):,} | {at_24.largest_fit} "
                f"| {format_bytes(at_24.peak_bytes)} | {format_bytes(at_24.breakdown.activations_bytes)} |"
            )
        else:
            failed.append(f"| {name} | | | {found.reason} | | |")
        print((rows + failed)[-1] if isinstance(found, MemoryModel) else failed[-1], flush=True)
        gc.collect()
    return [
        "## Every classification model of torchvision, predicted for a GPU",
        "",
        f"AdamW, fp32, images of 224 x 224 (inception_v3: 299 x 299). {len(rows)} of {len(names)} trace. Seconds of one core "
        f"for the traces and the answers for eight gpus: median {statistics.median(seconds):.1f}, "
        f"{sum(one < 5 for one in seconds)} of {len(seconds)} below 5, most {max(seconds):.1f}.",
        "",
        "| model | seconds | allocations | largest batch on 24 GiB | takes | of that, activations |",
        "|---|--:|--:|--:|--:|--:|",
        *rows,
        *failed,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file")
    parser.add_argument("--only", choices=("exact", "kinds", "all"), help="one of the three parts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    every = {"exact": exact_part, "kinds": kinds_part, "all": all_part}
    parts = [part() for name, part in every.items() if options.only in (None, name)]
    text = f"torch {torch.__version__}, torchvision {torchvision.__version__}, one thread, no GPU\n\n"
    text += "\n\n".join("\n".join(lines) for lines in parts) + "\n"
    print(text)
    if options.markdown is not None:
        command = "python benchmarks/batch_prediction.py" + (f" --only {options.only}" if options.only else "")
        options.markdown.write_text(f"# Prediction of memory\n\n`{command}`\n\n{text}")


if __name__ == "__main__":
    main()
