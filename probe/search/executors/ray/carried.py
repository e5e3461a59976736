"""Work on a node that does not see the driver's folder: checkpoints and weights travel with the job and with its report."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from probe.errors import DiskFullError, OutputError
from probe.files import atomic_file, write_error
from probe.search.jobs.final_job import FinalJob, FinalOutcome
from probe.search.jobs.jobs import RungJob, RungReport
from probe.search.jobs.worker_calls import run_final_training, train_in_worker
from probe.units import format_bytes

MAX_CARRIED_BYTES = 2**30
"""Of a checkpoint. It is in memory several times on its way: on the node, in Ray's object store, and at the driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedReport:
    report: RungReport
    checkpoint: bytes | None
    """The file; None where the rung did not come to its end, or nobody will go on from it."""


def train_carried(job: RungJob, checkpoint: bytes | None) -> CarriedReport:
    """`checkpoint`: the file that the job goes on from. Raises OutputError for a new one above MAX_CARRIED_BYTES, else as
    `run_rung`."""
    with tempfile.TemporaryDirectory(prefix="probe-rung-") as name:
        folder = Path(name)
        before = None if job.checkpoint_in is None else folder / job.checkpoint_in.name
        after = None if job.checkpoint_out is None else folder / job.checkpoint_out.name
        if before is not None and checkpoint is not None:
            before.write_bytes(checkpoint)
        report = train_in_worker(replace(job, checkpoint_in=before, checkpoint_out=after))
        if after is None or not after.exists():
            return CarriedReport(report=report, checkpoint=None)
        size = after.stat().st_size
        if size > MAX_CARRIED_BYTES:
            raise OutputError(
                f"The checkpoint of trial {job.number} has {format_bytes(size)}, and at most {format_bytes(MAX_CARRIED_BYTES)} "
                "travel through Ray's object store.",
                hint="Name a folder that all nodes see: --storage PATH, then go on with --resume.",
            )
        return CarriedReport(report=report, checkpoint=after.read_bytes())


def carried_arguments(job: RungJob) -> tuple[RungJob, bytes | None]:
    """Of `train_carried`. Without the checkpoint where that is gone; the trial then trains those epochs again and says so."""
    try:
        return job, None if job.checkpoint_in is None else job.checkpoint_in.read_bytes()
    except OSError:
        return job, None


def unpacked(job: RungJob, carried: CarriedReport) -> RungReport:
    """The report; the checkpoint is written where `job` says. Raises OutputError, but for a full disk."""
    if carried.checkpoint is not None and job.checkpoint_out is not None:
        try:
            _write(job.checkpoint_out, carried.checkpoint, "checkpoint")
        except DiskFullError:
            return replace(carried.report, is_unsaved=True)
    return carried.report


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedFit:
    outcome: FinalOutcome
    weights: bytes | None


def fit_carried(job: FinalJob) -> CarriedFit:
    """The final fit, whose weights come with its outcome."""
    with tempfile.TemporaryDirectory(prefix="probe-fit-") as name:
        weights = None if job.weights_path is None else Path(name) / job.weights_path.name
        outcome = run_final_training(replace(job, weights_path=weights))
        content = weights.read_bytes() if weights is not None and weights.exists() else None
    return CarriedFit(outcome=outcome, weights=content)


def unpacked_fit(job: FinalJob, carried: CarriedFit) -> FinalOutcome:
    """The outcome; the weights are written where `job` says. Raises OutputError."""
    if carried.weights is not None and job.weights_path is not None:
        _write(job.weights_path, carried.weights, "file of weights")
    return carried.outcome


def _write(path: Path, content: bytes, what: str) -> None:
    try:
        with atomic_file(path) as file:
            file.write(content)
    except OSError as error:
        raise write_error(what, path, error) from error
