"""One rung of one trial, as a worker process runs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from probe.device.failures import classify_failure
from probe.device.protocol import Device
from probe.device.select import open_device
from probe.errors import OutputError
from probe.search.jobs import Outcome, RungJob, RungReport, Split
from probe.task import Task
from probe.training.checkpoint import load_checkpoint, save_checkpoint
from probe.training.data import hold_out
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings, task_params
from probe.workers.child import send_message


def run_rung(job: RungJob, *, send: Callable[[Any], None] = send_message) -> RungReport:
    """Train a trial for one rung: an EpochReport is sent after every epoch, the checkpoint is written at the end.

    Out of memory and divergence are outcomes; whatever else the user's code raises passes through.
    """
    started = time.perf_counter()
    device = open_device(job.device, measuring_memory=False)
    device.reset_peaks()
    outcome, message = _guarded(job, device, send)
    memory = device.read_memory()
    device.release()
    return RungReport(outcome=outcome, seconds=time.perf_counter() - started, memory=memory, message=message)


def split_task(task: Task, split: Split) -> Task:
    """The task with the validation part that all trials of a search share."""
    return hold_out(task, share=split.share, seed=split.seed)


def _guarded(job: RungJob, device: Device, send: Callable[[Any], None]) -> tuple[Outcome, str | None]:
    try:
        with device.track():
            return _train(job, device, send)
    except Exception as error:
        if classify_failure(error) is None:
            raise
        message = str(error).strip().splitlines()[0]
    # Outside of the handler, where the frames that hold the tensors are gone.
    return "oom", message


def _train(job: RungJob, device: Device, send: Callable[[Any], None]) -> tuple[Outcome, str | None]:
    task = split_task(job.source.build(task_params(job.params)), job.split)
    settings = TrainerSettings.for_task(task, {**job.params, "epochs": job.planned_epochs})
    run = TrainingRun(task, settings, device=device, seed=job.seed)
    message = _restore(run, job)
    while run.epoch < job.epochs_to:
        report = run.run_epoch()
        if report is None:
            return "diverged", message
        if run.epoch > job.epochs_from:  # earlier ones, trained again, were reported then
            send(report)
    if job.checkpoint_out is not None:
        save_checkpoint(job.checkpoint_out, run.state())
    return "finished", message


def _restore(run: TrainingRun, job: RungJob) -> str | None:
    """Go on from the job's checkpoint. Where that is gone or broken the run stays at its start, and the message says so:
    the same seed trains the same epochs again, which loses time but no trial."""
    if job.checkpoint_in is None:
        return None
    try:
        state = load_checkpoint(job.checkpoint_in)
    except OutputError as error:
        return f"{error.message} Epochs 1 to {job.epochs_from} were trained again."
    if state.get("epoch") != job.epochs_from:
        return f"The checkpoint {job.checkpoint_in} is another's. Epochs 1 to {job.epochs_from} were trained again."
    run.restore(state)
    return None
