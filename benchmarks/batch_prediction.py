"""Predicted memory against the bytes that training really allocates, and what a prediction costs.

    python benchmarks/batch_prediction.py [--markdown FILE] [--only exact|all]

exact: torchvision models x {SGD with momentum, AdamW} x 3 batch sizes. Measured by SimulatedDevice: real training on the CPU
       (two steps and an evaluation step), every storage counted. The peer, in the same run: a straight line through the
       peaks measured at batch sizes 1 and 2, as batch finders draw it.
all:   every classification model of torchvision, at its usual image size, predicted for a GPU: does it trace, how long does
       the prediction take, in CPU time of a process that has imported PyTorch, what does
       it say.
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

from probe.batch.forecast import forecast
from probe.batch.predict import predict
from probe.batch.profile import Profile, Untraceable
from probe.batch.samples import sample_batches
from probe.device.simulated import SimulatedDevice
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings
from probe.training.trees import map_tensors
from probe.units import format_bytes, format_share
from probe.zoo.source import NamedSource

IMAGE_SIZE = 64
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
    task = source.build({})
    settings = TrainerSettings.for_task(task, params | {"batch_size": batch_size})
    device = SimulatedDevice(2**60)
    on_host = sample_batches(task, [batch_size])[batch_size]
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
            profile = predict(source, params=params, target="simulated", in_process=True)
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
        _summary("prediction (traces of 4, 8 and 16 samples)", errors, equal),
        _summary("line through batches 1 and 2", line_errors, sum(case.line == case.measured for case in rows)),
        "",
        "| model | optimizer | batch | measured | predicted | error | line's error |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {case.model} | {case.optimizer} | {case.batch_size} | {case.measured:,} | {case.predicted:,} "
        f"| {format_share(error, decimals=3)} | {format_share(line_error, decimals=1)} |"
        for case, error, line_error in zip(rows, errors, line_errors, strict=True)
    ]
    return lines


def _summary(name: str, errors: list[float], equal: int) -> str:
    sizes = [abs(error) for error in errors]
    within = sum(size <= 0.001 for size in sizes)
    return (
        f"| {name} | {equal} of {len(errors)} | {within} of {len(errors)} | {format_share(max(sizes), decimals=3)} "
        f"| {format_share(statistics.median(sizes), decimals=3)} |"
    )


def all_part() -> list[str]:
    names = torchvision.models.list_models(module=torchvision.models)
    seconds, rows, failed = [], [], []
    for name in names:
        source = NamedSource(model=name, image_size=USUAL_SIZES.get(name, 224))
        started = time.process_time()
        found = predict(source, in_process=True)
        if isinstance(found, Profile):
            answers = {one.memory_bytes: one for one in forecast(found)[1]}
            seconds.append(time.process_time() - started)
            at_24 = answers[24 * 2**30]
            rows.append(
                f"| {name} | {seconds[-1]:.1f} | {len(found.fit.sizes):,} | {at_24.largest_fit} "
                f"| {format_bytes(at_24.peak_bytes)} | {format_bytes(at_24.parts.activations_bytes)} |"
            )
        else:
            failed.append(f"| {name} | | | {found.reason} | | |")
        print((rows + failed)[-1] if isinstance(found, Profile) else failed[-1], flush=True)
        gc.collect()
    return [
        "## Every classification model of torchvision, predicted for a GPU",
        "",
        f"AdamW, fp32, images of 224 x 224 (inception_v3: 299 x 299). {len(rows)} of {len(names)} trace. Seconds of one core "
        f"for the traces and the answers for eight cards: median {statistics.median(seconds):.1f}, "
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
    parser.add_argument("--only", choices=("exact", "all"), help="one of the two parts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = []
    if options.only != "all":
        parts.append(exact_part())
    if options.only != "exact":
        parts.append(all_part())
    text = f"torch {torch.__version__}, torchvision {torchvision.__version__}, one thread, no GPU\n\n"
    text += "\n\n".join("\n".join(lines) for lines in parts) + "\n"
    print(text)
    if options.markdown is not None:
        options.markdown.write_text("# Prediction of memory\n\n`python benchmarks/batch_prediction.py`\n\n" + text)


if __name__ == "__main__":
    main()
