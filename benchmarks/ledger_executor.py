"""probe's own search over a ledger of epochs: its recipe, sampler, ladder and study; only the executor is a benchmark's.

The executor trains nothing itself and has no clock of its own: an epoch takes one unit of simulated time on each slot, and the
ledger is asked for epochs in the order in which they would end.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from probe.device.environment import collect_meta
from probe.recipe.dump import recipe_hash
from probe.records import RunOrigin
from probe.search.jobs.jobs import JobEnd, JobEpoch, JobEvent, Outcome, RungJob, RungReport
from probe.search.lr_probe import LrProbes
from probe.search.plans import rung_job, study_plan
from probe.search.records.search import ParamValue
from probe.search.results import StageResults
from probe.search.samplers.auto_sampler import choose_sampler
from probe.search.samplers.registry import make_sampler
from probe.search.settings import SearchSettings
from probe.search.space.dimensions import build_space
from probe.search.study.plan import new_state
from probe.search.study.study import Study
from probe.training.records import EpochReport


class BudgetSpentError(Exception):
    """The epochs are used up; what was trained before stays in the ledger."""


class EpochLedger(Protocol):
    def epoch(self, params: Mapping[str, ParamValue], number: int) -> EpochReport | None:
        """Epoch `number` (from 1) of this configuration; None: the training broke in it.

        Raises BudgetSpentError instead of an epoch more than the budget.
        """


@dataclass(order=True)
class _Running:
    """A job on a slot. Sorts by the end of its next epoch, of equal ends the job that was submitted first."""

    epoch_ends: int
    order: int
    epoch: int = field(compare=False)
    job: RungJob = field(compare=False)
    seconds: float = field(compare=False, default=0.0)


@dataclass(kw_only=True)
class LedgerExecutor:
    """`num_slots` slots in simulated time."""

    ledger: EpochLedger
    num_slots: int = 1
    now: int = 0
    """Epochs of simulated time."""
    _running: list[_Running] = field(default_factory=list)
    """A heap."""
    _order: Iterator[int] = field(default_factory=itertools.count)

    def submit(self, job: RungJob) -> None:
        if len(self._running) == self.num_slots:
            raise RuntimeError(f"all {self.num_slots} slots are taken")
        epoch = job.epochs_from + 1
        heapq.heappush(self._running, _Running(epoch_ends=self.now + 1, order=next(self._order), epoch=epoch, job=job))

    def poll(self, timeout_seconds: float) -> list[JobEvent]:
        """Every epoch up to the first end of a job, and that end."""
        events: list[JobEvent] = []
        while self._running:
            running = heapq.heappop(self._running)
            self.now = running.epoch_ends
            report = self.ledger.epoch(running.job.params, running.epoch)
            if report is None:
                return [*events, _end(running, "diverged")]
            running.seconds += report.seconds
            events.append(JobEpoch(number=running.job.number, report=report))
            if running.epoch == running.job.epochs_to:
                return [*events, _end(running, "finished")]
            running.epoch += 1
            running.epoch_ends += 1
            heapq.heappush(self._running, running)
        return events

    def places(self) -> dict[int, str]:
        return {}

    def cancel(self) -> None:
        self._running = []

    def close(self) -> None:
        pass


def _end(running: _Running, outcome: Outcome) -> JobEnd:
    return JobEnd(number=running.job.number, report=RungReport(outcome=outcome, seconds=running.seconds))


def run_search(
    setup: SearchSettings, ledger: EpochLedger, *, probes: LrProbes | None = None, num_slots: int = 1
) -> int:
    """The search that `setup` asks for, with what its range tests found; returns the number of its trials."""
    recipe = setup.recipe
    space = build_space(recipe, lr_ranges=None if probes is None else probes.ranges)
    spent = 0.0 if probes is None else probes.epochs
    choice = choose_sampler(
        recipe.search.sampler, space, limits=setup.limits, rungs=setup.fidelity.total_costs, spent_epochs=spent
    )
    found = StageResults(
        meta=collect_meta(device="cpu", seed=setup.seed, origin=RunOrigin(recipe_hash=recipe_hash(recipe))),
        space=space,
        sampler=choice.name,
        lr_probes={} if probes is None else probes.results,
        probe_epochs=spent,
    )
    plan = study_plan(setup, found, seconds=0.0)
    study = Study(
        plan,
        new_state(plan),
        sampler=make_sampler(
            choice.name, space, mode=setup.objective.mode, seed=setup.seed, num_rungs=len(setup.rungs)
        ),
        executor=LedgerExecutor(ledger=ledger, num_slots=num_slots),
        make_job=partial(rung_job, setup, checkpoints=Path()),  # which nobody writes
    )
    study.run()
    return len(study.state.trials)
