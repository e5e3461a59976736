"""The winner, trained once more on everything but the test part, and the one time that the test part is read."""

from __future__ import annotations

import math
import time
from pathlib import Path
from statistics import NormalDist

import torch

from probe.device.guard import within_memory
from probe.device.protocol import Device
from probe.device.select import open_device
from probe.errors import OutputError
from probe.search.final_job import FinalJob, FinalOutcome
from probe.search.objective import LOSS
from probe.search.records import BaselineScore, FinalFit, Score
from probe.search.trial import split_task
from probe.training.data import merge_validation
from probe.training.evaluate import BaselineModel, Evaluation
from probe.training.records import EpochReport
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings, task_params
from probe.training.summary import count_weights
from probe.training.weights import left_out_warning, save_weights
from probe.workers.child import send_message

ACCURACY = "accuracy"


def run_final(job: FinalJob) -> FinalOutcome:
    """Fit on train + validation, then score the test part. In a worker; EpochReports are sent as messages.

    The samples are those of the search, so that nothing of the test part can slip in; running out of memory and divergence are
    warnings.
    """
    started = time.perf_counter()
    torch.set_num_threads(job.num_threads)
    device = open_device(job.device, measuring_memory=False)
    _, outcome = within_memory(device, lambda: _fit_and_score(job, device))
    fit, test, warning = outcome or (None, None, "The final fit on train + validation ran out of memory.")
    return FinalOutcome(fit=fit, test=test, seconds=time.perf_counter() - started, warning=warning)


def wilson_interval(share: float, num_samples: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for a proportion (Wilson 1927): right for shares near 1 too, where the usual +- interval leaves [0, 1]."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    shrink = 1 + z * z / num_samples
    center = (share + z * z / (2 * num_samples)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / num_samples + z * z / (4 * num_samples**2))
    return max(0.0, center - half), min(1.0, center + half)


def interval_of(metric: str, value: float, num_samples: int) -> tuple[float, float] | tuple[None, None]:
    """95 % where the metric is a share of right answers; unknown otherwise."""
    return wilson_interval(value, num_samples) if metric == ACCURACY and 0 <= value <= 1 else (None, None)


def score_test_part(run: TrainingRun, metric: str) -> tuple[Score | None, str | None]:
    """The score, or a warning why there is none; neither where the task has no test part."""
    if run.task.test is None:
        return None, None
    scores = run.evaluate(run.task.test)
    value = _value(scores, metric)
    if not math.isfinite(value):
        return None, f"The {metric} on the test part is {value}."
    low, high = interval_of(metric, value, scores.num_samples)
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
    """The file's name, or the warning why there is none: the score must not be lost with the weights."""
    if path is None:
        return None, None
    try:
        left_out = save_weights(run.model, path)
    except OutputError as error:
        return None, error.message
    return path.name, left_out_warning(path.name, left_out)


def _fit_and_score(job: FinalJob, device: Device) -> tuple[FinalFit | None, Score | None, str | None]:
    task = merge_validation(split_task(job.source.build(task_params(job.source, job.params)), job.split))
    settings = TrainerSettings.for_task(task, {**job.params, "epochs": job.epochs})
    run = TrainingRun(task, settings, device=device, seed=job.seed)
    reports: list[EpochReport] = []
    while run.epoch < job.epochs:
        report = run.run_epoch()
        if report is None:
            return None, None, f"The final fit on train + validation diverged in epoch {run.epoch + 1}."
        reports.append(report)
        send_message(report)
    weights_file, warning = _save_weights(run, job.weights_path)
    fit = FinalFit(
        epochs=job.epochs,
        seed=job.seed,
        reports=tuple(reports),
        weights_file=weights_file,
        weights=count_weights(run.model),
    )
    score, problem = score_test_part(run, job.metric)
    return fit, score, problem or warning
