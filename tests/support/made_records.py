"""Results made by hand, with plausible numbers: what a report is drawn from in these tests."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from probe.batch.prediction_records import MemoryBreakdown, PredictedPeak, Prediction, PredictionInfo
from probe.batch.records import (
    Alternative,
    Attempt,
    BatchComparison,
    BatchResult,
    LoaderSpeed,
    Outcome,
    Purpose,
    Variant,
    VariantSettings,
)
from probe.diagnosis.diagnose import diagnose
from probe.lr.confirm import steps_to_evaluate, suggest_confirmed, with_expectations
from probe.lr.curve import mean_curve
from probe.lr.records import (
    Axis,
    Confirmation,
    ConfirmRun,
    LossAt,
    LrComparison,
    LrCurve,
    LrPoint,
    LrResult,
    LrSuggestion,
)
from probe.lr.suggest import finder_picks
from probe.records import DeviceMemory, MemoryReading, MemoryUser, Precision, RunMeta
from probe.search.compare.compare import NamedSearch, compare_searches, incumbents_of_trials
from probe.search.records.cluster import ClusterUse, NodeInfo
from probe.search.records.comparison import SearchComparison
from probe.search.records.search import (
    BestTrial,
    BudgetLimits,
    Dimension,
    FinalTraining,
    Importance,
    Score,
    SearchResult,
    Spent,
    Status,
    TrialResult,
    ValueInterval,
)
from probe.single.records import TrainResult
from probe.training.records import Diagnosis, EpochReport

GIB = 2**30
RUNGS = (1, 3, 9, 27)
SEARCH_ARGV = ("/home/me/.venv/bin/probe", "search", "recipes/mnist.toml", "--set", "search.seed=1")

META = RunMeta(
    probe_version="0.1.0",
    python_version="3.11.9",
    torch_version="2.15.0",
    cuda_version="12.9",
    driver_version="575.51",
    platform="Linux-6.8-x86_64",
    device="cuda:0 (NVIDIA H200)",
    num_threads=2,
    seed=0,
    argv=("probe", "batch", "--model", "densenet", "--img", "256"),
    recipe_hash=None,
    started_at="2026-01-31T12:00:00Z",
)


def attempt(batch_size: int, purpose: Purpose = "size", *, limit: int = 8 * GIB) -> Attempt:
    """What a device with `limit` bytes would give: 150 MiB and 60 MiB a sample, throughput that saturates."""
    allocated = 150 * 2**20 + batch_size * 60 * 2**20
    reserved = math.ceil(allocated * 1.08 / 2**21) * 2**21
    if reserved > limit:
        message = f"CUDA out of memory. Tried to allocate {batch_size}.00 MiB. GPU 0 | 7.9 GiB in use\nof 8 <GiB>"
        return Attempt(batch_size=batch_size, purpose=purpose, outcome="oom", message=message)
    rate = 420 * batch_size / (batch_size + 14) * (1.01 if purpose == "confirm" else 1.0)
    reading = MemoryReading(
        peak_allocated_bytes=allocated,
        peak_reserved_bytes=reserved,
        device_used_bytes=reserved + 500 * 2**20,
        device_total_bytes=limit,
    )
    return Attempt(
        batch_size=batch_size,
        purpose=purpose,
        outcome="fits",
        num_steps=20,
        step_seconds=batch_size / rate,
        step_seconds_low=0.99 * batch_size / rate,
        step_seconds_high=1.02 * batch_size / rate,
        samples_per_second=rate,
        memory=reading,
        host_peak_bytes=2 * GIB + batch_size * 2**20,
    )


def failed_attempt(batch_size: int, outcome: Outcome, message: str) -> Attempt:
    return Attempt(batch_size=batch_size, purpose="size", outcome=outcome, message=message)


def batch_result(**changes: Any) -> BatchResult:
    tried = [attempt(512), attempt(256), attempt(128), attempt(64), attempt(32), attempt(16), attempt(8)]
    tried += [*(attempt(size, "throughput") for size in (64, 32, 16)), attempt(64, "confirm")]
    tried[1] = failed_attempt(256, "kernel_limit", "CUDNN_STATUS_NOT_SUPPORTED: a batch of 256 | too large")
    values: dict[str, Any] = {
        "meta": META,
        "stopped_by": "finished",
        "task": "densenet121 on synthetic images 3x256x256",
        "optimizer": "adamw",
        "precision": "fp32",
        "limit_bytes": 8 * GIB,
        "num_samples": None,
        "largest_fit": 64,
        "recommended": 64,
        "capped_by": None,
        "attempts": tuple(tried),
        "seconds": 83.4,
    }
    return BatchResult(**values | changes)


def nothing_fits_result(**changes: Any) -> BatchResult:
    tried = tuple(replace(attempt(2**power, limit=1), batch_size=2**power) for power in (4, 3, 2, 1, 0))
    values: dict[str, Any] = {
        "attempts": tried,
        "largest_fit": None,
        "recommended": None,
        "stopped_by": "nothing_fits",
        "limit_bytes": 128 * 2**20,
    }
    return batch_result(**values | changes)


ALTERNATIVES = (
    Alternative(change="bf16", largest_fit=2, peak_bytes=119 * 2**20),
    Alternative(change="images of 128 x 128", largest_fit=4, peak_bytes=124 * 2**20),
)
DEVICE_MEMORY = DeviceMemory(
    total_bytes=141 * GIB,
    others_bytes=3 * GIB,
    others=(
        MemoryUser(pid=4711, name="python", used_bytes=2 * GIB),
        MemoryUser(pid=815, name="some|viewer", used_bytes=None),
    ),
    context_bytes=512 * 2**20,
    context_is_measured=True,
    emulated_bytes=8 * GIB,
    is_integrated=False,
)
UNSEEN = (
    "operators run as on the CPU: attention and dropout may keep more than CUDA's fused operators do",
    "scratch memory inside operators; of cuDNN's there is an allowance",
)


def predicted_peak(batch_size: int, sample_bytes: int = 61 * 2**20) -> PredictedPeak:
    allocated = 140 * 2**20 + batch_size * sample_bytes
    reserved = math.ceil(allocated * 1.07 / 2**21) * 2**21
    return PredictedPeak(batch_size=batch_size, allocated_bytes=allocated, peak_bytes=reserved + 512 * 2**20)


def prediction(gpu_bytes: int, sample_bytes: int = 61 * 2**20) -> Prediction:
    """The largest power of two whose predicted peak is not above the card's memory, and parts that add up."""
    fitting = [2**power for power in range(14) if predicted_peak(2**power, sample_bytes).peak_bytes <= gpu_bytes]
    largest = max(fitting, default=None)
    point = predicted_peak(largest or 1, sample_bytes)
    parts = MemoryBreakdown(
        weights_bytes=32 * 2**20,
        gradients_bytes=32 * 2**20,
        optimizer_state_bytes=64 * 2**20,
        data_bytes=(largest or 1) * 2**18,
        activations_bytes=point.allocated_bytes - 128 * 2**20 - (largest or 1) * 2**18,
        workspace_bytes=0,
        cache_bytes=point.peak_bytes - 512 * 2**20 - point.allocated_bytes,
        context_bytes=512 * 2**20,
    )
    return Prediction(
        memory_bytes=gpu_bytes,
        largest_fit=largest,
        peak_bytes=point.peak_bytes,
        allocated_bytes=point.allocated_bytes,
        breakdown=parts,
    )


def prediction_info(largest: int = 128, sample_bytes: int = 61 * 2**20) -> PredictionInfo:
    curve = tuple(predicted_peak(2**power, sample_bytes) for power in range((2 * largest).bit_length()))
    return PredictionInfo(traced_as="fake cpu", unseen=UNSEEN, curve=curve, seconds=3.21)


def checked_result(**changes: Any) -> BatchResult:
    """Measured after a prediction, on a large card that stands in for one of 8 GiB."""
    values: dict[str, Any] = {
        "device_memory": DEVICE_MEMORY,
        "prediction_info": prediction_info(),
        "predictions": (prediction(8 * GIB),),
    }
    return batch_result(**values | changes)


def predicted_result(
    *cards: int, sample_bytes: int = 61 * 2**20, precision: Precision = "fp32", **changes: Any
) -> BatchResult:
    """What there is to say without a GPU."""
    sizes = [gib * GIB for gib in cards or (8, 12, 16, 24, 40, 48, 80, 141)]
    predictions = tuple(prediction(size, sample_bytes) for size in sizes)
    values: dict[str, Any] = {
        "meta": replace(META, device="no GPU: predicted", cuda_version=None, driver_version=None),
        "stopped_by": "predicted",
        "precision": precision,
        "limit_bytes": None,
        "largest_fit": None,
        "recommended": None,
        "attempts": (),
        "prediction_info": prediction_info(max(p.largest_fit or 1 for p in predictions), sample_bytes),
        "predictions": predictions,
        "seconds": 4.56,
    }
    return batch_result(**values | changes)


def comparison(*, predicted: bool = False, **changes: Any) -> BatchComparison:
    """Three image sizes, two precisions."""
    variants = []
    precision: Precision
    for image_size in (512, 256, 128):
        for precision in ("fp32", "bf16"):
            share = (image_size / 256) ** 2 * (0.6 if precision == "bf16" else 1.0)
            if predicted:
                result = predicted_result(sample_bytes=round(60 * 2**20 * share), precision=precision)
            else:
                tried = tuple(_at_share(attempt(2**power), share) for power in range(9))
                fitting = [a.batch_size for a in tried if a.memory is not None and a.fits]
                result = batch_result(
                    precision=precision, attempts=tried, largest_fit=max(fitting), recommended=max(fitting) // 2
                )
            variants.append(
                Variant(image_size=image_size, precision=precision, activation_checkpointing=False, result=result)
            )
    values: dict[str, Any] = {
        "meta": replace(META, argv=("probe", "batch", "--model", "densenet", "--img", "512,256,128")),
        "stopped_by": "predicted" if predicted else "finished",
        "task": "densenet121 on synthetic images",
        "optimizer": "adamw",
        "variants": tuple(variants),
        "seconds": 321.0,
    }
    return BatchComparison(**values | changes)


def timed_variant(
    settings: VariantSettings, *, host_seconds: float | None, sample_seconds: float, largest: int = 512
) -> Variant:
    """Seven sizes up to `largest`: a step takes as long as the host or `sample_seconds` for each sample, if that is longer."""
    tried = []
    for size in (largest >> power for power in range(6, -1, -1)):
        seconds = max(host_seconds or 0.0, sample_seconds * size)
        peak = 2**20 * (100 + 6 * size)
        tried.append(
            replace(
                attempt(size),
                outcome="fits",
                message=None,
                num_steps=20,
                step_seconds=seconds,
                step_seconds_low=0.99 * seconds,
                step_seconds_high=1.01 * seconds,
                samples_per_second=size / seconds,
                host_seconds=host_seconds,
                memory=MemoryReading(peak_allocated_bytes=peak, peak_reserved_bytes=peak),
            )
        )
    best = max(one.samples_per_second or 0.0 for one in tried)
    recommended = min(one.batch_size for one in tried if (one.samples_per_second or 0.0) >= 0.95 * best)
    result = batch_result(
        precision=settings.precision, attempts=tuple(tried), largest_fit=largest, recommended=recommended
    )
    return Variant(image_size=settings.image_size, **settings.params, result=result)


def variants_compared(**changes: Any) -> BatchComparison:
    """Four ways to train on a GPU, a fifth that cannot be compiled, and a data loader between slow and fast enough."""
    fp32 = VariantSettings()
    bf16 = VariantSettings(precision="bf16")
    last = replace(bf16, channels_last=True)
    message = (
        "The model cannot be compiled: TritonMissing: Cannot find a working triton installation.\nSet compile = false."
    )
    failed = Attempt(batch_size=512, purpose="size", outcome="error", message=message)
    compiled = batch_result(
        precision="bf16", stopped_by="error", attempts=(failed,), largest_fit=None, recommended=None, capped_by=None
    )
    values: dict[str, Any] = {
        "meta": replace(META, argv=("probe", "batch", "--task", "mytask:task", "--variants")),
        "task": "mytask:task",
        "variants": (
            timed_variant(fp32, host_seconds=0.006, sample_seconds=0.0012),
            timed_variant(replace(fp32, precision="tf32"), host_seconds=0.006, sample_seconds=0.0007),
            timed_variant(bf16, host_seconds=0.009, sample_seconds=0.0005),
            timed_variant(last, host_seconds=0.009, sample_seconds=0.0003),
            Variant(**replace(last, compile=True).params, result=compiled),
        ),
        "loader": (
            LoaderSpeed(num_workers=0, batch_size=64, num_batches=20, samples_per_second=412.3),
            LoaderSpeed(num_workers=8, batch_size=64, num_batches=110, samples_per_second=2310.0),
        ),
    }
    return replace(comparison(), **values | changes)


def _at_share(made: Attempt, share: float) -> Attempt:
    """As if a sample took `share` of the work and of the memory."""
    if 60 * 2**20 * share * made.batch_size > 7 * GIB:
        return Attempt(batch_size=made.batch_size, purpose="size", outcome="oom", message="out of memory")
    rate = 420 / share * made.batch_size / (made.batch_size + 14 / share)
    peak = round(150 * 2**20 + 60 * 2**20 * share * made.batch_size)
    return replace(
        made,
        outcome="fits",
        message=None,
        step_seconds=made.batch_size / rate,
        step_seconds_low=None,
        step_seconds_high=None,
        samples_per_second=rate,
        memory=MemoryReading(peak_allocated_bytes=peak, peak_reserved_bytes=peak),
    )


def lr_curve(seed: int = 0, *, num_steps: int = 300, peak: float = 0.08, noise: float = 0.06) -> LrCurve:
    """A plateau at 2.3, a fall to 0.45 and a blow-up two decades after `peak`."""
    draw = random.Random(seed)
    points: list[LrPoint] = []
    smoothed = 2.3
    for step in range(num_steps):
        lr = 1e-5 * 10 ** (6 * step / max(1, num_steps - 1))
        clean = 0.45 + 1.85 / (1 + (lr / (peak / 12)) ** 1.4) + (lr / (peak * 12)) ** 2.5
        loss = clean * math.exp(draw.gauss(0, noise))
        smoothed = 0.9 * smoothed + 0.1 * clean if step else clean
        points.append(LrPoint(step=step, lr=lr, loss=loss, smoothed_loss=smoothed))
        if loss > 20:
            return LrCurve(seed=seed, points=tuple(points), ended_by="diverged")
    return LrCurve(seed=seed, points=tuple(points), ended_by="finished")


LR_TRAINING_STEPS = 3750
"""Steps: 5 passes over 48,000 samples."""


def lr_result(**changes: Any) -> LrResult:
    """A range test of 300 steps; other rules' picks are those of its curves."""
    curves: Sequence[LrCurve] = changes.get("curves", (lr_curve(),))
    measured = [curve for curve in curves if curve.points]
    values: dict[str, Any] = {
        "meta": replace(META, argv=("probe", "lr", "recipes/mnist.toml"), device="cpu", recipe_hash="5ad1c0ffee"),
        "stopped_by": "finished",
        "task": "cnn on mnist",
        "optimizer": "sgd",
        "precision": "fp32",
        "batch_size": 64,
        "lr_schedule": "constant",
        "training_steps": LR_TRAINING_STEPS,
        "passes": 5.0,
        "lowest_lr": 1e-5,
        "highest_lr": 10.0,
        "ramp_steps": 300,
        "num_steps": sum(curve.num_steps for curve in curves),
        "suggestion": LrSuggestion(lr=0.0316, low=0.0141, high=0.0891),
        "other_finders": finder_picks(mean_curve(measured, 300)) if measured else None,
        "warnings": (),
        "curves": tuple(curves),
        "seconds": 4.56,
    }
    return LrResult(**values | changes)


def confirm_run(lr: float, num_steps: int = 100, *, blows_up_after: int | None = None) -> ConfirmRun:
    """A run whose loss on unseen data falls from 2.3 towards 0.2 with its distance, learning rate times steps."""
    losses = [
        LossAt(step=step, loss=0.2 + 2.1 / (1 + lr * step / 0.3))
        for step in steps_to_evaluate(num_steps)
        if blows_up_after is None or step < blows_up_after
    ]
    return ConfirmRun(
        lr=lr,
        num_steps=num_steps if blows_up_after is None else blows_up_after,
        evaluations=tuple(losses),
        finished=blows_up_after is None,
    )


def confirmation(**changes: Any) -> Confirmation:
    """Five runs half a decade apart; the highest blows up after half of its steps."""
    runs = [*(confirm_run(lr) for lr in (1e-3, 3.16e-3, 0.01, 0.0316)), confirm_run(0.1, blows_up_after=50)]
    values: dict[str, Any] = {
        "measured_on": "validation",
        "num_samples": 1600,
        "initial_loss": 2.3,
        "planned_steps": 100,
        "runs": tuple(runs),
    }
    return with_expectations(Confirmation(**values | changes), effective_steps=LR_TRAINING_STEPS)


def confirmed_lr_result(**changes: Any) -> LrResult:
    """Range test and runs; suggestion and warnings as the runs have them."""
    made = confirmation()
    curves = (lr_curve(num_steps=200),)
    suggestion, warnings = suggest_confirmed(made, effective_steps=LR_TRAINING_STEPS, lowest=1e-5, highest=10.0)
    values: dict[str, Any] = {
        "depth": "short",
        "ramp_steps": 200,
        "num_steps": curves[0].num_steps + sum(run.num_steps for run in made.runs),
        "suggestion": suggestion,
        "warnings": tuple(warnings),
        "curves": curves,
        "confirmation": made,
    }
    return lr_result(**values | changes)


def lr_comparison(axis: Axis = "optimizer", **changes: Any) -> LrComparison:
    """Three optimizers, the last of them without a suggestion; or two batch sizes."""
    found = LrSuggestion(lr=1.6e-3, low=7e-4, high=4e-3)
    results = {
        "optimizer": (
            lr_result(),
            lr_result(optimizer="adam", curves=(lr_curve(3, peak=0.004),), suggestion=found),
            lr_result(optimizer="adamw", suggestion=None, warnings=("The loss | never falls.",)),
        ),
        "batch_size": (lr_result(batch_size=16, suggestion=found), confirmed_lr_result()),
    }
    values: dict[str, Any] = {
        "meta": replace(META, argv=("probe", "lr", "recipes/mnist.toml", "--per", "optimizer"), device="cpu"),
        "stopped_by": "finished",
        "task": "cnn on mnist",
        "axis": axis,
        "results": results[axis],
        "seconds": 13.7,
    }
    return LrComparison(**values | changes)


SPACE = (
    Dimension(name="batch_size", kind="pow2", low=8, high=64),
    Dimension(name="optimizer", kind="choices", choices=("sgd", "adam")),
    Dimension(name="lr", kind="float", low=1e-4, high=0.2, log=True, per={"sgd": (2e-3, 0.2), "adam": (1e-4, 0.01)}),
    Dimension(name="momentum", kind="float", low=0.5, high=0.99, when={"optimizer": "sgd"}),
    Dimension(name="weight_decay", kind="float", low=1e-6, high=1e-2, log=True),
    Dimension(name="width", kind="pow2", low=8, high=32),
)

SPENT = Spent(trials=0, epochs=2.4, probe_epochs=2.4, seconds=754.0, final_epochs=21, final_seconds=66.0)
IMPORTANCE = {
    name: Importance(share=share, num_trials=15 if name == "momentum" else 40, num_compared=40)
    for name, share in {
        "lr": 0.52,
        "optimizer": 0.21,
        "weight_decay": 0.04,
        "width": 0.13,
        "batch_size": 0.08,
        "momentum": 0.31,
    }.items()
}

RECIPE = """schema = 1
name = "mnist"

[task]
model = "cnn"
data = "mnist"

[space]
batch_size = { probe = "max_batch", max = 64 }
optimizer = { choices = ["sgd", "adam"] }
"""


def reports(
    num_epochs: int, ceiling: float, draw: random.Random, *, with_validation: bool = True
) -> tuple[EpochReport, ...]:
    made = []
    for epoch in range(1, num_epochs + 1):
        gap = 0.35 * math.exp(-0.35 * epoch)
        val_loss = 1.9 * math.exp(-0.3 * epoch) + 0.05 + 0.002 * epoch + 2 * (0.99 - ceiling)
        accuracy = min(0.9995, ceiling - gap + draw.gauss(0, 0.003))
        made.append(
            EpochReport(
                epoch=epoch,
                train_loss=2.1 * math.exp(-0.3 * epoch) + 0.02,
                val_loss=val_loss if with_validation else None,
                metrics={"accuracy": accuracy, "macro_f1": accuracy - 0.01} if with_validation else {},
                seconds=3.1,
                train_metrics={"accuracy": accuracy + 0.005},
            )
        )
    return tuple(made)


def trial(number: int, draw: random.Random) -> TrialResult:
    optimizer = draw.choice(("sgd", "adam"))
    lr = 10 ** draw.uniform(-2.6, -0.7) if optimizer == "sgd" else 10 ** draw.uniform(-4, -2)
    params: dict[str, bool | int | float | str] = {
        "batch_size": draw.choice((8, 16, 32, 64)),
        "optimizer": optimizer,
        "lr": lr,
        "weight_decay": 10 ** draw.uniform(-6, -2),
        "width": draw.choice((8, 16, 32)),
        "dropout": 0.1,
    }
    if optimizer == "sgd":
        params["momentum"] = draw.uniform(0.5, 0.99)
    ceiling = 0.985 - abs(draw.gauss(0, 0.02)) if number % 9 else 0.6
    status: Status = "stopped"
    epochs = draw.choice((1, 1, 1, 1, 3, 3, 9))
    message = None
    if number == 12:
        status, epochs, message = "oom", 1, "Tried to allocate 512 MiB | the limit is 1 GiB"
    elif number in (17, 29):
        status, epochs, message = "diverged", 2, "The loss was not finite in epoch 2."
    elif number == 24:
        status, epochs, message = "crashed", 3, "The worker died (signal 9): the host was out of memory."
    elif number % 7 == 4:
        status, epochs = "complete", 27
    told = reports(epochs if status in ("complete", "stopped") else epochs - 1, ceiling, draw)
    value = max(report.metrics["accuracy"] for report in told) if status in ("complete", "stopped") else None
    return TrialResult(
        number=number,
        params=params,
        seed=number * 7919,
        status=status,
        value=value,
        epochs=epochs,
        lost_epochs=epochs - len(told),
        reports=told,
        rungs=tuple(rung for rung in RUNGS if rung <= len(told)),
        seconds=3.2 * epochs,
        message=message,
    )


def diagnosis_of(won: TrialResult | None) -> Diagnosis | None:
    return None if won is None else diagnose(won.reports, metric="accuracy", untrained_loss=2.3)


def search_result(*, num_trials: int = 40, **changes: Any) -> SearchResult:
    draw = random.Random(1)
    trials = tuple(trial(number, draw) for number in range(num_trials))
    complete = [t for t in trials if t.status == "complete" and t.value is not None]
    won = max(complete, key=lambda t: t.value or 0.0, default=None)
    epochs = sum(t.epochs for t in trials)
    values: dict[str, Any] = {
        "meta": replace(META, argv=SEARCH_ARGV, device="cpu"),
        "stopped_by": "epochs",
        "name": "mnist",
        "recipe": RECIPE,
        "task": "cnn on mnist",
        "metric": "accuracy",
        "mode": "max",
        "sampler": "tpe",
        "scheduler": "asha",
        "rungs": RUNGS,
        "space": SPACE,
        "constants": {"dropout": 0.1},
        "limits": BudgetLimits(trials=40, epochs=300, time_seconds=1200),
        "spent": replace(SPENT, trials=num_trials, epochs=epochs + 2.4),
        "num_workers": 2,
        "batch_probe": batch_result(largest_fit=64, recommended=64),
        "lr_probes": {
            "sgd": lr_result(),
            "adam": lr_result(
                optimizer="adam",
                curves=(lr_curve(3, peak=0.004),),
                suggestion=LrSuggestion(lr=1.6e-3, low=7e-4, high=4e-3),
                warnings=("The curve is noisy | use a larger batch.",),
            ),
        },
        "trials": trials,
        "best": None if won is None else BestTrial(number=won.number, params=won.params, value=won.value or 0.0),
        "best_interval": None if won is None else ValueInterval(low=0.98, high=0.99, rule="wilson", num_samples=12_000),
        "importance": IMPORTANCE,
        "final": None
        if won is None
        else FinalTraining(epochs=21, seed=5, reports=reports(21, 0.99, draw, with_validation=False)),
        "test": None
        if won is None
        else Score(metric="accuracy", value=0.9861, low=0.9837, high=0.9883, num_samples=10_000),
        "diagnosis": diagnosis_of(won),
        "warnings": (),
    }
    return SearchResult(**values | changes)


def node(number: int, **changes: Any) -> NodeInfo:
    """A GPU machine of a rack."""
    values: dict[str, Any] = {
        "name": f"gpu-{number:02}",
        "address": f"192.0.2.{number}",
        "node_id": f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}",
        "num_cpus": 32.0,
        "num_gpus": 2.0,
        "gpu_names": ("NVIDIA H200", "NVIDIA H200"),
        "probe_version": META.probe_version,
        "python_version": META.python_version,
        "torch_version": META.torch_version,
        "cuda_version": META.cuda_version,
        "driver_version": META.driver_version,
        "platform": META.platform,
    }
    return NodeInfo(**values | changes)


def cluster_use(**changes: Any) -> ClusterUse:
    """Two GPU machines and one without; four trials a GPU."""
    plain = node(3, name="cpu_3", num_gpus=0.0, gpu_names=(), cuda_version=None, driver_version=None)
    values: dict[str, Any] = {
        "address": "192.0.2.1:6379",
        "nodes": (node(1), node(2), plain),
        "num_slots": 16,
        "cpus_per_job": 4.0,
        "gpus_per_job": 0.25,
        "storage": "/mnt/shared/mnist",
    }
    return ClusterUse(**values | changes)


def plain_search_result(*trials: TrialResult, **changes: Any) -> SearchResult:
    """A search with these trials and nothing else in it: no probes, no importance, no final fit."""
    valued = [t for t in trials if t.value is not None]
    won = max(valued, key=lambda t: t.value or 0.0, default=None)
    empty: dict[str, Any] = {
        "trials": tuple(trials),
        "batch_probe": None,
        "lr_probes": {},
        "importance": {},
        "constants": {},
        "final": None,
        "test": None,
        "diagnosis": diagnosis_of(won),
        "best": None if won is None else BestTrial(number=won.number, params=won.params, value=won.value or 0.0),
        "spent": Spent(trials=len(trials), epochs=float(sum(t.epochs for t in trials)), probe_epochs=0.0, seconds=1.0),
    }
    return search_result(**empty | changes)


def search_comparison(**changes: Any) -> SearchComparison:
    """Two recipes with two seeds each, and one with a test score."""
    draw = random.Random(5)
    searches = [
        plain_search_result(
            *(trial(number, draw) for number in range(9)),
            name=name,
            sampler=sampler,
            recipe=COMPARED_RECIPE.format(name=name, sampler=sampler, seed=seed, data="digits"),
            meta=replace(META, seed=seed),
        )
        for name, sampler in (("digits", "random"), ("digits-tpe", "tpe"))
        for seed in (0, 1)
    ]
    scored = replace(searches[-1], name="scored", recipe=searches[-1].recipe.replace("digits-tpe", "scored"))
    searches.append(
        replace(scored, test=Score(metric="accuracy", value=0.9861, low=0.9837, high=0.9883, num_samples=10_000))
    )
    named = [
        NamedSearch(folder=f"runs/{index}", result=result, curve=incumbents_of_trials(result))
        for index, result in enumerate(searches)
    ]
    made = compare_searches(named, argv=("probe", "compare", *(one.folder for one in named)))
    return replace(made, meta=META, **changes)


COMPARED_RECIPE = """schema = 1
name = "{name}"
[task]
model = "cnn"
data = "{data}"
validation = {{ kind = "holdout", fraction = 0.2 }}
[search]
sampler = "{sampler}"
seed = {seed}
"""


def train_result(*, num_epochs: int = 21, planned: int | None = None, **changes: Any) -> TrainResult:
    """What `probe train best.toml` leaves."""
    told = reports(num_epochs, 0.985, random.Random(3))
    accuracies = [report.metrics["accuracy"] for report in told]
    finished = planned is None
    values: dict[str, Any] = {
        "meta": replace(META, argv=("probe", "train", "best.toml")),
        "stopped_by": "finished" if finished else "interrupted",
        "name": "mnist",
        "recipe": RECIPE,
        "task": "cnn on mnist",
        "metric": "accuracy",
        "mode": "max",
        "params": {"lr": 0.01, "optimizer": "sgd", "width": 16},
        "epochs": planned or num_epochs,
        "all_data": False,
        "num_train": 48_000,
        "num_val": 12_000,
        "num_test": 10_000,
        "reports": told,
        "best_epoch": accuracies.index(max(accuracies)) + 1 if told else None,
        "best_value": max(accuracies) if told else None,
        "last_value": accuracies[-1] if told else None,
        "test": Score(metric="accuracy", value=0.9861, low=0.9837, high=0.9883, num_samples=10_000)
        if finished
        else None,
        "weights_file": "weights.safetensors" if told else None,
        "diagnosis": diagnose(told, metric="accuracy", untrained_loss=2.3) if told else None,
        "memory": MemoryReading(peak_allocated_bytes=2**28, peak_reserved_bytes=2**29),
        "seconds": 83.4,
    }
    return TrainResult(**values | changes)
