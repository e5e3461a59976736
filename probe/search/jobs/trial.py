"""Training of one trial to its next rung, as a worker process runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean
from typing import Any

from probe.device.failures import find_failure, guarded
from probe.device.protocol import Device
from probe.device.select import open_device
from probe.errors import DiskFullError, Infeasible, OutputError, ProbeError, TaskError, first_line
from probe.loading.trees import map_tensors
from probe.loading.validation import split_task, take_fraction
from probe.search.jobs.checkpoint_files import owner_of_checkpoint
from probe.search.jobs.folds import fold_name, mean_report, mean_summary
from probe.search.jobs.jobs import JobStarted, Outcome, RungJob, RungReport
from probe.search.jobs.stopping import has_stopped_improving, next_gradient_accumulation
from probe.seeds import derive_seed
from probe.system.gpu_errors import sticky_gpu_error
from probe.task import Task
from probe.training.building import build_task
from probe.training.checkpoint import load_checkpoint, save_checkpoint
from probe.training.loop import Stop, StopCondition, summarize_training, train_epochs
from probe.training.records import EpochReport, TrainingSummary
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings
from probe.workers.child import send_message


@dataclass(slots=True)
class _Rung:
    """A running job, with what is known when an exception ends it."""

    job: RungJob
    device: Device
    send: Callable[[Any], None]
    settings: TrainerSettings | None = None
    num_passes: int = 0
    reports: list[EpochReport] = field(default_factory=list)
    summaries: list[TrainingSummary | None] = field(default_factory=list)
    """One for each fold, measured at the end of the rung."""
    is_unsaved: bool = False
    """True if the disk was too full for the checkpoint."""


def run_rung(job: RungJob, *, send: Callable[[Any], None] = send_message) -> RungReport:
    """Train a trial to its next rung. Sends an EpochReport after every epoch and writes the checkpoint at the end.

    With k-fold validation, each fold is trained to the end of the rung before the next one starts, so that only one
    model is on the device; the means over the folds are then sent. Out of memory, divergence, `probe.Infeasible`, a
    broken constraint and exhausted patience are outcomes. Every other exception of the user's code passes.
    """
    device = open_device(job.device, measuring_memory=False)
    send(JobStarted(offered_bytes=None if device.memory is None else device.memory.offered_bytes))
    started = time.perf_counter()
    device.reset_peaks()
    rung = _Rung(job, device, send)
    end = guarded(lambda: _train(rung), partial(_failure, rung))
    memory = device.read_memory()
    device.release()
    return replace(
        end,
        seconds=time.perf_counter() - started,
        memory=memory,
        num_passes=rung.num_passes,
        summary=mean_summary(rung.summaries) if end.outcome in ("finished", "early_stopped") else None,
        is_unsaved=rung.is_unsaved,
        held_bytes=(device.live_bytes() or 0) if device.is_gpu else 0,
    )


def _end(outcome: Outcome, message: str | None, next_parts: int | None = None) -> RungReport:
    """The report of a job without its measurements."""
    return RungReport(outcome=outcome, message=message, next_gradient_accumulation=next_parts, seconds=0.0)


def _failure(rung: _Rung, error: Exception) -> RungReport | None:
    """The outcome that an exception stands for; None if it is an error."""
    if isinstance(error, Infeasible):
        return _end("infeasible", error.message)
    failure, cause = find_failure(error)
    settings = rung.settings
    next_parts = None
    if settings is not None:
        next_parts = next_gradient_accumulation(settings.batch_size, settings.gradient_accumulation)
    if failure == "kernel_limit" and next_parts is None:
        return None  # even a single sample exceeds the limit, so the batch size is not the reason
    message = first_line(cause)
    if failure is not None:
        return _end("oom", message, next_parts)
    parts = rung.job.gradient_accumulation
    if sticky_gpu_error() is not None:
        return None
    if parts is None or (isinstance(error, ProbeError) and not isinstance(error, TaskError)):
        return None
    # The whole batch got as far as running out of memory: the model cannot be trained on micro-batches, like batch
    # normalization on a single sample.
    return _end("oom", f"Out of memory with the whole batch, and split into {parts} micro-batches it fails: {message}")


def _train(rung: _Rung) -> RungReport:
    job = rung.job
    owner = owner_of_checkpoint(job)
    task = build_task(job.source, job.params, job.reference)
    with rung.device.track():
        with rung.device.untracked():  # the checkpoint is on the host
            state, lost = _load_state(job, owner)
        train = _train_folds if job.split.num_folds > 1 else _train_once
        stop, new_state = train(rung, task, state)
        unsaved = None
        if stop.reason == "finished" and job.checkpoint_out is not None:
            try:
                save_checkpoint(job.checkpoint_out, {"owner": dict(owner), "state": new_state()})
            except DiskFullError as error:
                rung.is_unsaved = True
                unsaved = f"{error.message} If it is promoted, it is trained again from its seed."
        return _end(stop.reason, " ".join(filter(None, (lost, stop.message, unsaved))) or None)


def _load_state(job: RungJob, owner: Mapping[str, int | str]) -> tuple[Mapping[str, Any], str | None]:
    """The state of the job's checkpoint. If the file is missing, broken or another owner's: an empty state, from which
    the same epochs are repeated, and a message."""
    if job.checkpoint_in is None:
        return {}, None
    again = f"Epochs 1 to {job.epochs_from} were trained again."
    try:
        saved = load_checkpoint(job.checkpoint_in)
    except OutputError as error:
        return {}, f"{error.message} {again}"
    found, state = (_mapping(saved.get(key)) for key in ("owner", "state"))
    differing = [name for name, value in owner.items() if found.get(name) != value]
    folds = [state.get(fold_name(fold)) for fold in range(job.split.num_folds)]
    parts = [state] if job.split.num_folds == 1 else map(_mapping, folds)
    if any(part.get("epoch") != job.epochs_from for part in parts):
        differing.append("number of epochs")
    if differing:
        which = ", ".join(differing)
        return {}, f"The checkpoint {job.checkpoint_in} belongs to another training (different {which}). {again}"
    return state, None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _train_once(rung: _Rung, task: Task, state: Mapping[str, Any]) -> tuple[Stop, Callable[[], dict[str, Any]]]:
    run = _make_run(rung, split_task(task, rung.job.split), seed=rung.job.seed)

    def deliver(report: EpochReport) -> None:
        rung.send(report)
        rung.reports.append(report)

    stop = _train_run(rung, run, state, on_report=deliver, stop_condition=lambda report: _patience_stop(rung))
    return stop, run.state


def _train_folds(rung: _Rung, task: Task, state: Mapping[str, Any]) -> tuple[Stop, Callable[[], dict[str, Any]]]:
    split, seed = rung.job.split, rung.job.seed
    states: dict[str, Any] = {}
    reports: list[list[EpochReport]] = []
    for fold in range(split.num_folds):
        run = _make_run(rung, split_task(task, split, fold=fold), seed=derive_seed(seed, fold, "fold"))
        of_fold: list[EpochReport] = []
        stop = _train_run(rung, run, state.get(fold_name(fold), {}), on_report=of_fold.append)
        if stop.reason != "finished":
            where = f"Fold {fold + 1} of {split.num_folds} {stop.reason}."
            return Stop(stop.reason, stop.message or where), dict
        reports.append(of_fold)
        if rung.job.checkpoint_out is not None:
            states[fold_name(fold)] = map_tensors(lambda tensor: tensor.cpu(), run.state())
    for of_epoch in zip(*reports, strict=True):
        rung.reports.append(mean_report(of_epoch))
        rung.send(rung.reports[-1])
    return _patience_stop(rung) or Stop("finished"), lambda: states


def _make_run(rung: _Rung, task: Task, *, seed: int) -> TrainingRun:
    job = rung.job
    params = {**job.params, "epochs": job.planned_epochs}
    if job.gradient_accumulation is not None:
        params["gradient_accumulation"] = job.gradient_accumulation
    rung.settings = TrainerSettings.for_task(task, params)
    task = take_fraction(task, job.data_thousandths, seed=job.split.seed)
    return TrainingRun(task, rung.settings, device=rung.device, seed=seed)


def _train_run(
    rung: _Rung,
    run: TrainingRun,
    state: Mapping[str, Any],
    *,
    on_report: Callable[[EpochReport], None],
    stop_condition: StopCondition = lambda report: None,
) -> Stop:
    """Train from `state`, or from the start if it is empty, to the end of the rung, or until a constraint is broken."""
    job = rung.job
    broken = job.constraints.broken_by_params(run.num_params)
    if broken is not None:
        return Stop("infeasible", broken)
    if state:
        run.restore(dict(state))
    reports: list[EpochReport] = []

    def receive(report: EpochReport) -> None:
        reports.append(report)
        on_report(report)

    def stop_or_broken(report: EpochReport) -> Stop | None:
        stop = stop_condition(report)
        is_last = stop is not None or run.epoch == job.epochs_to
        broken = _broken_by_use(rung, reports if is_last else ())
        return stop if broken is None else Stop("infeasible", broken)

    def count_pass() -> None:
        rung.num_passes += 1  # before the pass, which may raise

    stop = train_epochs(
        run,
        job.epochs_to,
        on_report=receive,
        stop_condition=stop_or_broken,
        on_epoch_start=count_pass,
        repeated_epochs=job.epochs_from,
    )
    if stop.reason in ("finished", "early_stopped"):
        rung.summaries.append(summarize_training(run, reports[-1]))
    return stop


def _broken_by_use(rung: _Rung, reports: Sequence[EpochReport]) -> str | None:
    """The broken constraint on memory, checked after every epoch, or on the time of a step, which varies between
    epochs: it is checked once, as the mean over all `reports` of the first rung."""
    job = rung.job
    if job.constraints.memory_bytes is not None:
        memory = rung.device.read_memory()
        broken = job.constraints.broken_by_memory(None if memory is None else memory.peak_reserved_bytes)
        if broken is not None:
            return broken
    measured = [report.step_seconds for report in reports if report.step_seconds is not None]
    return job.constraints.broken_by_step(fmean(measured)) if measured and job.epochs_from == 0 else None


def _patience_stop(rung: _Rung) -> Stop | None:
    job = rung.job
    if job.objective is None or not has_stopped_improving(job.objective, (*job.earlier, *rung.reports), job.patience):
        return None
    return Stop("early_stopped", f"Stopped early: no improvement in {job.patience} epochs.")
