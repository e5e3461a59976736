"""One rung of one trial, as a worker process runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from probe.device.failures import find_failure
from probe.device.protocol import Device
from probe.device.select import open_device
from probe.errors import DiskFullError, Infeasible, OutputError, ProbeError, TaskError, first_line
from probe.loading.dataset import hold_out, hold_out_fold, take_share
from probe.loading.trees import map_tensors
from probe.search.jobs.folds import fold_name, mean_report
from probe.search.jobs.jobs import JobBegun, Outcome, RungJob, RungReport, Split
from probe.search.jobs.outcomes import next_gradient_accumulation
from probe.search.jobs.patience import has_stopped_improving
from probe.seeds import derive_seed
from probe.task import Task
from probe.training.building import build_task
from probe.training.checkpoint import load_checkpoint, save_checkpoint
from probe.training.records import EpochReport, FitSummary
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings
from probe.training.summary import mean_summary, summarize_fit
from probe.workers.child import send_message

Ending = tuple[Outcome, str | None]
"""Outcome and message."""


@dataclass(slots=True)
class _Rung:
    """A job at work: what is known of it when an exception ends it."""

    job: RungJob
    device: Device
    send: Callable[[Any], None]
    settings: TrainerSettings | None = None
    num_passes: int = 0
    reports: list[EpochReport] = field(default_factory=list)
    """Sent ones."""
    fits: list[FitSummary | None] = field(default_factory=list)
    """One a fold, at the end of the rung."""
    is_unsaved: bool = False


def run_rung(job: RungJob, *, send: Callable[[Any], None] = send_message) -> RungReport:
    """Train a trial for one rung: an EpochReport is sent after every epoch, the checkpoint is written at the end.

    With folds, one after the other goes through the whole rung, so that no more than one model is on the device at once, and
    the reports, means over the folds, come at the end.

    Out of memory, divergence, `probe.Infeasible`, a broken constraint and patience that is over are outcomes; whatever else
    the user's code raises passes through.
    """
    send(JobBegun())
    started = time.perf_counter()
    device = open_device(job.device, measuring_memory=False)
    device.reset_peaks()
    rung = _Rung(job, device, send)
    (outcome, message), split_again = _guarded(rung)
    memory = device.read_memory()
    device.release()
    return RungReport(
        outcome=outcome,
        seconds=time.perf_counter() - started,
        memory=memory,
        message=message,
        next_gradient_accumulation=split_again,
        num_passes=rung.num_passes,
        fit=mean_summary(rung.fits) if outcome in ("finished", "early_stopped") else None,
        is_unsaved=rung.is_unsaved,
    )


def split_task(task: Task, split: Split, *, fold: int = 0) -> Task:
    """The task with the validation part that all trials of a search share."""
    if split.num_folds > 1:
        return hold_out_fold(task, fold, num_folds=split.num_folds, seed=split.seed)
    return hold_out(task, share=split.share, seed=split.seed)


def _guarded(rung: _Rung) -> tuple[Ending, int | None]:
    """How it ended, and after running out of memory the parts that the batch can be split into next."""
    try:
        task = build_task(rung.job.source, rung.job.params, rung.job.reference)
        with rung.device.track():
            return _train(rung, task), None
    except Infeasible as error:
        return ("infeasible", error.message), None
    except Exception as error:
        failure, culprit = find_failure(error)
        settings = rung.settings
        split_again = (
            None
            if settings is None
            else next_gradient_accumulation(settings.batch_size, settings.gradient_accumulation)
        )
        if failure == "kernel_limit" and split_again is None:  # one sample passes it, too: no limit of the batch
            raise
        ran_out = failure is not None
        if not ran_out and not _may_be_the_split(rung.job, error):
            raise
        message = first_line(culprit)
    # Outside of the handler, where the frames that hold the tensors are gone.
    if not ran_out:
        parts = rung.job.gradient_accumulation
        return ("oom", f"Out of memory with the whole batch, and split into {parts} parts it fails: {message}"), None
    return ("oom", message), split_again


def _may_be_the_split(job: RungJob, error: Exception) -> bool:
    """Whole, the batch got as far as running out of memory: what fails now is not made for parts of it, like batch
    normalization for a single sample."""
    return job.gradient_accumulation is not None and (isinstance(error, TaskError) or not isinstance(error, ProbeError))


def _train(rung: _Rung, task: Task) -> Ending:
    job = rung.job
    with rung.device.untracked():  # the checkpoint is on the host
        state, lost = _load_state(job)
    ending, new_state = _train_folds(rung, task, state) if job.split.num_folds > 1 else _train_once(rung, task, state)
    unsaved = None
    if ending[0] == "finished" and job.checkpoint_out is not None:
        try:
            save_checkpoint(job.checkpoint_out, new_state())
        except DiskFullError as error:
            rung.is_unsaved, unsaved = True, f"{error.message} If it is promoted, it is trained again from its seed."
    return ending[0], " ".join(filter(None, (lost, ending[1], unsaved))) or None


def _load_state(job: RungJob) -> tuple[Mapping[str, Any], str | None]:
    """The job's checkpoint. Where that is gone or broken nothing, and a message that says so: the same seed trains the same
    epochs again, which loses time but no trial."""
    if job.checkpoint_in is None:
        return {}, None
    again = f"Epochs 1 to {job.epochs_from} were trained again."
    try:
        state = load_checkpoint(job.checkpoint_in)
    except OutputError as error:
        return {}, f"{error.message} {again}"
    parts = [state] if job.split.num_folds == 1 else [state.get(fold_name(fold)) for fold in range(job.split.num_folds)]
    if any(not isinstance(part, Mapping) or part.get("epoch") != job.epochs_from for part in parts):
        return {}, f"The checkpoint {job.checkpoint_in} is another's. {again}"
    return state, None


def _train_once(rung: _Rung, task: Task, state: Mapping[str, Any]) -> tuple[Ending, Callable[[], dict[str, Any]]]:
    run = _make_run(rung, split_task(task, rung.job.split), seed=rung.job.seed)

    def deliver(report: EpochReport) -> Ending | None:
        rung.send(report)
        rung.reports.append(report)
        return _patience_over(rung)

    return _train_run(rung, run, state, after_epoch=deliver), run.state


def _train_folds(rung: _Rung, task: Task, state: Mapping[str, Any]) -> tuple[Ending, Callable[[], dict[str, Any]]]:
    split, seed = rung.job.split, rung.job.seed
    states: dict[str, Any] = {}
    columns: list[list[EpochReport]] = []
    for fold in range(split.num_folds):
        run = _make_run(rung, split_task(task, split, fold=fold), seed=derive_seed(seed, fold, "fold"))
        column: list[EpochReport] = []
        ending = _train_run(rung, run, state.get(fold_name(fold), {}), after_epoch=column.append)
        if ending[0] != "finished":
            return (ending[0], ending[1] or f"It {ending[0]} in fold {fold + 1} of {split.num_folds}."), dict
        columns.append(column)
        if rung.job.checkpoint_out is not None:
            states[fold_name(fold)] = map_tensors(lambda tensor: tensor.cpu(), run.state())
    for reports in zip(*columns, strict=True):
        rung.reports.append(mean_report(reports))
        rung.send(rung.reports[-1])
    return _patience_over(rung) or ("finished", None), lambda: states


def _make_run(rung: _Rung, task: Task, *, seed: int) -> TrainingRun:
    job = rung.job
    params = {**job.params, "epochs": job.planned_epochs}
    if job.gradient_accumulation is not None:
        params["gradient_accumulation"] = job.gradient_accumulation
    rung.settings = TrainerSettings.for_task(task, params)
    task = take_share(task, job.data_thousandths, seed=job.split.seed)
    return TrainingRun(task, rung.settings, device=rung.device, seed=seed)


def _train_run(
    rung: _Rung,
    run: TrainingRun,
    state: Mapping[str, Any],
    *,
    after_epoch: Callable[[EpochReport], Ending | None],
) -> Ending:
    """From where `state` is, or from the begin where there is none, to the end of the rung."""
    job = rung.job
    broken = None if job.constraints.params is None else job.constraints.broken_by_params(run.num_params)
    if broken is not None:
        return "infeasible", broken
    if state:
        run.restore(dict(state))
    steps: list[float | None] = []
    while run.epoch < job.epochs_to:
        is_again = run.epoch < job.epochs_from  # reported and paid for before
        rung.num_passes += not is_again  # before the pass, which may end in an exception
        report = run.run_epoch()
        if is_again and report is not None:
            continue
        if report is None:
            return "diverged", None
        steps.append(report.step_seconds)
        ending = after_epoch(report)
        is_last = ending is not None or run.epoch == job.epochs_to
        broken = _broken_by_use(rung, steps if is_last else ())
        if broken is not None:
            return "infeasible", broken
        if is_last:
            rung.fits.append(summarize_fit(run, report))
        if ending is not None:
            return ending
    return "finished", None


def _broken_by_use(rung: _Rung, steps: Sequence[float | None]) -> str | None:
    """Memory is looked at after every epoch; the time of a step once, over the whole first rung, as single epochs vary."""
    job = rung.job
    if job.constraints.memory_bytes is not None:
        memory = rung.device.read_memory()
        broken = job.constraints.broken_by_memory(None if memory is None else memory.peak_reserved_bytes)
        if broken is not None:
            return broken
    measured = [seconds for seconds in steps if seconds is not None]
    return job.constraints.broken_by_step(fmean(measured)) if measured and job.epochs_from == 0 else None


def _patience_over(rung: _Rung) -> Ending | None:
    job = rung.job
    if job.objective is None or not has_stopped_improving(job.objective, (*job.earlier, *rung.reports), job.patience):
        return None
    return "early_stopped", f"Ended early: nothing better in {job.patience} epochs."
