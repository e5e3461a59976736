"""The final training: the winner trained again on train + validation data, and its score on the test split."""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch

from probe.device.failures import OutOfMemory, within_memory
from probe.device.protocol import Device
from probe.device.select import open_device
from probe.errors import OutputError
from probe.loading.validation import merge_validation, split_task
from probe.search.analysis.intervals import wilson_interval
from probe.search.jobs.jobs import FinalJob, FinalOutcome
from probe.search.records.objective import LOSS
from probe.search.records.search import BaselineScore, FinalTraining, Score
from probe.task import Task
from probe.training.building import build_task
from probe.training.checkpoint import left_out_warning, save_weights
from probe.training.evaluate import BaselineModel, Evaluation
from probe.training.loop import count_weights, train_epochs
from probe.training.metrics import proportions
from probe.training.records import EpochReport
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings
from probe.workers.child import send_message


def run_final(job: FinalJob) -> FinalOutcome:
    """Train on train + validation data, then score the test split. Runs in a worker, which sends each EpochReport. The
    samples are those of the search. Out of memory and divergence are warnings."""
    started = time.perf_counter()
    torch.set_num_threads(job.num_threads)
    device = open_device(job.device, measuring_memory=False)
    task = merge_validation(split_task(build_task(job.source, job.params, job.reference), job.split))
    ended = within_memory(device, lambda: _train_and_score(job, task, device))
    if isinstance(ended, OutOfMemory):
        ended = (None, None, "The final training on train + validation ran out of memory.")
    training, test, warning = ended
    return FinalOutcome(training=training, test=test, seconds=time.perf_counter() - started, warning=warning)


def score_test_split(run: TrainingRun, metric: str) -> tuple[Score | None, str | None]:
    """The score of the model on the test split, or a warning why there is none; both are None without a test split."""
    if run.task.test is None:
        return None, None
    scores = run.evaluate(run.task.test)
    value = _value(scores, metric)
    if not math.isfinite(value):
        return None, f"The {metric} on the test split is {value}."
    is_proportion = metric in proportions(run.task.metrics) and 0 <= value <= 1
    low, high = wilson_interval(value, scores.num_samples) if is_proportion else (None, None)
    score = Score(
        metric=metric,
        value=value,
        low=low,
        high=high,
        num_samples=scores.num_samples,
        baseline=_score_baseline(run, metric),
    )
    return score, None


def _score_baseline(run: TrainingRun, metric: str) -> BaselineScore | None:
    baseline = run.task.baseline
    if baseline is None:
        return None
    value = _value(run.evaluate(run.task.test, model=BaselineModel(baseline)), metric)
    return BaselineScore(name=baseline.name, value=value) if math.isfinite(value) else None


def _value(scores: Evaluation, metric: str) -> float:
    return scores.loss if metric == LOSS else scores.metrics[metric]


def _save_weights(run: TrainingRun, path: Path | None) -> tuple[str | None, str | None]:
    """The name of the file and a warning; either may be None. A failure is a warning, so that the score is not lost with it."""
    if path is None:
        return None, None
    try:
        left_out = save_weights(run.model, path)
    except OutputError as error:
        return None, error.message
    return path.name, left_out_warning(path.name, left_out)


def _train_and_score(
    job: FinalJob, task: Task, device: Device
) -> tuple[FinalTraining | None, Score | None, str | None]:
    settings = TrainerSettings.for_task(task, {**job.params, "epochs": job.epochs})
    run = TrainingRun(task, settings, device=device, seed=job.seed)
    reports: list[EpochReport] = []

    def deliver(report: EpochReport) -> None:
        reports.append(report)
        send_message(report)

    if train_epochs(run, job.epochs, on_report=deliver).reason == "diverged":
        return None, None, f"The final training on train + validation diverged in epoch {run.epoch + 1}."
    weights_file, warning = _save_weights(run, job.weights_path)
    training = FinalTraining(
        epochs=job.epochs,
        seed=job.seed,
        reports=tuple(reports),
        weights_file=weights_file,
        weights=count_weights(run.model),
    )
    score, problem = score_test_split(run, job.metric)
    return training, score, problem or warning
