"""The hypergradient of one trial, as a worker process computes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from probe.device.select import open_device
from probe.search.jobs.jobs import TrainingJob
from probe.search.schedulers.fidelity import WHOLE
from probe.system.cleanup import cleanup

if TYPE_CHECKING:
    from probe.device.protocol import Device
    from probe.search.hypergradient.unrolled import Hypergradient


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientJob(TrainingJob):
    """Train a trial again from its own seed and differentiate its validation loss."""

    planned_epochs: int
    epochs: int
    """Number of epochs to train: up to the epoch whose loss is the value of the trial."""
    names: tuple[str, ...]
    """Hyperparameters to differentiate with respect to."""
    unroll: int | None = None
    """Number of last steps to differentiate through; None for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientReport:
    """The gradient of a trial, or the reason why there is none."""

    gradient: Mapping[str, float] = field(default_factory=dict)
    """Hyperparameter -> derivative of the validation loss. All finite; empty if there is no gradient."""
    cost: int = 0
    """Cost in thousandths of an epoch of the budget."""
    num_unrolled: int = 0
    """Number of last steps that were differentiated through, of `num_steps`."""
    num_steps: int = 0
    message: str | None = None
    """The reason if there is no gradient."""


def run_gradient(job: GradientJob) -> GradientReport:
    """Compute a gradient in a worker. Out of memory and a gradient that is not finite are reports without a gradient.
    Raises TaskError and UsageError like `hypergradient`, and the errors of the task's own code."""
    from probe.device.failures import classify_failure, guarded

    out_of_memory = GradientReport(message="the unrolled training ran out of memory; lower search.refine.unroll")
    device = open_device(job.device, measuring_memory=False)
    with cleanup(device.release):
        return guarded(
            lambda: _report(_differentiate(job, device)),
            lambda error: None if classify_failure(error) is None else out_of_memory,
        )


def _differentiate(job: GradientJob, device: Device) -> Hypergradient:
    from probe.loading.validation import split_task
    from probe.search.hypergradient.unrolled import hypergradient
    from probe.training.building import build_task
    from probe.training.run import TrainingRun
    from probe.training.settings import TrainerSettings

    task = split_task(build_task(job.source, job.params, job.reference), job.split)
    with device.track():
        settings = TrainerSettings.for_task(task, {**job.params, "epochs": job.planned_epochs})
        return hypergradient(
            TrainingRun(task, settings, device=device, seed=job.seed),
            job.names,
            epochs=job.epochs,
            device=device,
            label_smoothing=float(job.params.get("label_smoothing", 0.0)),
            unroll=job.unroll,
        )


def _report(found: Hypergradient) -> GradientReport:
    finite = all(map(math.isfinite, found.gradient.values()))
    return GradientReport(
        gradient=found.gradient if finite else {},
        cost=round(found.num_passes * WHOLE),
        num_unrolled=found.num_unrolled,
        num_steps=found.num_steps,
        message=None if finite else "the gradient through the unrolled training is not finite",
    )
