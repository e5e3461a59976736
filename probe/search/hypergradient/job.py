"""The hypergradient of one trial, as a worker process computes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from probe.device.select import DeviceSpec, open_device
from probe.loading.records import DataReference
from probe.search.jobs.jobs import ValidationSplit
from probe.search.records.search import ParamValue
from probe.search.schedulers.fidelity import WHOLE
from probe.tasks.source import TaskSource

if TYPE_CHECKING:
    from probe.search.hypergradient.unrolled import Hypergradient


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientJob:
    """Train a trial once more, with its own seed, and differentiate its validation loss."""

    source: TaskSource
    params: Mapping[str, ParamValue]
    seed: int
    split: ValidationSplit
    device: DeviceSpec
    planned_epochs: int
    epochs: int
    """To the end of the epoch whose loss is the trial's value."""
    names: tuple[str, ...]
    unroll: int | None = None
    reference: DataReference | None = None
    """As of a RungJob."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientReport:
    gradient: Mapping[str, float] = field(default_factory=dict)
    """Empty where there is none; else finite."""
    cost: int = 0
    """Thousandths of an epoch of the budget."""
    num_unrolled: int = 0
    num_steps: int = 0
    message: str | None = None
    """Why there is no gradient."""


def run_gradient(job: GradientJob) -> GradientReport:
    """In a worker. Running out of memory and a gradient that is not finite are reports. Raises TaskError and UsageError as
    `hypergradient` does, and whatever else the task's own code raises."""
    from probe.device.failures import classify_failure
    from probe.search.hypergradient.unrolled import hypergradient
    from probe.search.jobs.trial import split_task
    from probe.training.building import build_task
    from probe.training.run import TrainingRun
    from probe.training.settings import TrainerSettings

    device = open_device(job.device, measuring_memory=False)
    try:
        task = split_task(build_task(job.source, job.params, job.reference), job.split)
        with device.track():
            settings = TrainerSettings.for_task(task, {**job.params, "epochs": job.planned_epochs})
            run = TrainingRun(task, settings, device=device, seed=job.seed)
            found = hypergradient(
                run,
                job.names,
                epochs=job.epochs,
                device=device,
                label_smoothing=float(job.params.get("label_smoothing", 0.0)),
                unroll=job.unroll,
            )
    except Exception as error:
        if classify_failure(error) is None:
            raise
        return GradientReport(message="the unrolled training ran out of memory; lower search.refine.unroll")
    finally:
        device.release()
    return _report(found)


def _report(found: Hypergradient) -> GradientReport:
    finite = all(map(math.isfinite, found.gradient.values()))
    return GradientReport(
        gradient=found.gradient if finite else {},
        cost=round(found.num_passes * WHOLE),
        num_unrolled=found.num_unrolled,
        num_steps=found.num_steps,
        message=None if finite else "the gradient through the unrolled training is not finite",
    )
