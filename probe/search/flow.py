"""The stages of a search, one after the other: load, batch probe, LR probes, trials, final fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from probe.device.select import device_name
from probe.errors import ProbeError
from probe.recipe.space import ProbedBatch, ProbedLr
from probe.search.batch_probing import probe_largest_batch
from probe.search.checks import check_against_task, warnings_for
from probe.search.executors.gpu_packing import GpuPacker, PeakPredictions, make_gpu_packer, make_peak_predictions
from probe.search.executors.protocol import SearchExecutor
from probe.search.executors.slots import device_title
from probe.search.findings import Findings, Setup, all_spent, make_result, trial_results
from probe.search.jobs.final_job import FinalOutcome, unlike_warning
from probe.search.jobs.jobs import RungJob
from probe.search.plans import (
    batch_plan,
    end_warnings,
    final_job,
    load_params,
    lr_plan,
    rung_job,
    study_plan,
    study_sampler,
    study_warnings,
)
from probe.search.probing import first_feasible, probe_lrs
from probe.search.proposers import make_proposer
from probe.search.records.cluster import ClusterUse
from probe.search.records.objective import best_epoch
from probe.search.records.search import BestTrial, SearchProgress, SearchResult, Stage, StoppedBy
from probe.search.restore import restore_final, restore_probes, with_history
from probe.search.resume import goes_on, remove_orphans
from probe.search.samplers.auto_sampler import choose_sampler
from probe.search.session import Session
from probe.search.space.dimensions import build_space
from probe.search.space.space import Space
from probe.search.storage.checkpoint_folder import CheckpointFolder
from probe.search.storage.stages import BATCH, END, FINAL, LADDER, LOAD, LR_PREFIX, PROBED, Probed, StudyEnded
from probe.search.study.events import Event
from probe.search.study.plan import new_state
from probe.search.study.snapshots import best_trial, with_nodes
from probe.search.study.state import Trial
from probe.search.study.study import Study
from probe.search.task_info import TaskInfo, describe_task, same_task_info

Observer = Callable[[Any], None]


class Search:
    """One search of one recipe. `run` goes through the stages; what each of them found is kept in `found` as it comes."""

    def __init__(
        self,
        setup: Setup,
        *,
        session: Session,
        executor: SearchExecutor,
        weights: Path | None,
        observer: Observer | None,
        started: float,
    ) -> None:
        self.setup = setup
        self.recipe = setup.recipe
        self.found = Findings(
            meta=session.begun.meta,
            space=Space(dimensions=(), constants=setup.recipe.constants),
            sampler=setup.recipe.search.sampler,
            num_resumes=session.num_resumes,
            warnings=list(session.warnings),
        )
        self._session = session
        self._database = session.database
        self._executor = executor
        self._checkpoints = CheckpointFolder(session.checkpoints)
        self._weights = weights
        self._observer = observer
        self._started = started
        self._probe_warnings: tuple[str, ...] = ()
        self._gpu_packer: GpuPacker | None = None
        self._peaks: PeakPredictions | None = None
        self._seconds_before = session.database.seconds()

    def run(self) -> tuple[SearchResult, ProbeError | None]:
        """All stages. Ctrl-C in any of them, and an error after the first, end the search with what it has.

        The error comes beside the result. Raises TaskError, DataError, RecipeError where the task itself is wrong: nothing
        is measured then.
        """
        stopped_by: StoppedBy = "failures"
        error: ProbeError | None = None
        try:
            facts = self._load()
            try:
                if not restore_probes(self.found, self._database):
                    largest_batch = self._probe_batch(facts)
                    self._probe_lr(facts, largest_batch)
                    self._keep_probed()
                stopped_by = self._study(facts)
                if stopped_by not in ("interrupted", "failures"):
                    self._finish()
            except ProbeError as raised:
                error = raised
        except KeyboardInterrupt:
            stopped_by = "interrupted"
        self._follow_cluster()
        self.found.event_seconds = self._database.event_seconds
        return make_result(self.setup, self.found, stopped_by=stopped_by, seconds=self._seconds()), error

    def note_cluster(self, use: ClusterUse) -> None:
        """Say where this session runs; again, when nodes come and go. Before `run` or in it, in its thread."""
        known = 0 if self.found.cluster is None else len(self.found.cluster.refusals)
        self.found.warnings += use.refusals[known:]
        self.found.cluster = use
        self._session.note_cluster(use, self._seconds())

    def _load(self) -> TaskInfo:
        self._show("load")
        describe = partial(self._executor.call_everywhere, describe_task, self.setup.source, self.setup.split)
        facts = same_task_info(first_feasible(load_params(self.setup), describe))
        facts = self._session.recognized(facts)
        self.setup = replace(self.setup, reference=facts.reference)
        check_against_task(self.recipe, facts)
        self._session.accept()
        self._keep(LADDER, self.setup.scheduler)
        self._keep(LOAD, facts)
        self.found.facts = facts
        self._session.note_cluster(self.found.cluster, self._seconds())
        self.found.warnings += warnings_for(self.recipe, facts, self.setup.fidelity)
        return facts

    def _probe_batch(self, facts: TaskInfo) -> int | None:
        """Up to which batches are searched; None where the recipe does not ask."""
        entry = self.recipe.space.get("batch_size")
        if not isinstance(entry, ProbedBatch):
            return None
        self._show("batch")
        known, plan = self.found.batch_probe, batch_plan(self.setup, entry, facts)
        probe = probe_largest_batch(plan, self._executor, known=known, observer=self._observe)
        self.found.batch_probe = probe.result
        self.found.probe_epochs += probe.epochs
        self.found.warnings += probe.warnings
        self._probe_warnings += probe.warnings
        if probe.result is not None and known is None and probe.result.stopped_by in ("finished", "nothing_fits"):
            self._keep(BATCH, probe.result)
        if probe.error is not None:
            raise probe.error
        return probe.largest

    def _probe_lr(self, facts: TaskInfo, largest_batch: int | None) -> None:
        # Asked only now: on a GPU a worker that opens the device holds memory, which the batch probe would have missed.
        names = self._executor.call_each(device_name, self.setup.device)
        self.found.meta = replace(self.found.meta, device=device_title(names))
        entry = self.recipe.space.get("lr")
        ranges: Mapping[str, tuple[float, float]] | None = None
        if isinstance(entry, ProbedLr):
            self._show("lr")
            probes = probe_lrs(
                lr_plan(self.setup, entry, facts, largest_batch=largest_batch, spent_epochs=self.found.probe_epochs),
                self._executor,
                known=self.found.lr_probes,
                keep=lambda key, probe: self._keep(f"{LR_PREFIX}{key}", probe),
                observer=self._observer,
            )
            ranges = probes.ranges
            self.found.lr_probes = probes.results
            self.found.probe_epochs += probes.epochs
            self._probe_warnings += probes.warnings
            self.found.warnings += probes.warnings
        self.found.space = build_space(self.recipe, largest_batch=largest_batch, lr_ranges=ranges)

    def _keep_probed(self) -> None:
        """Settle what the trials need to know: nothing of it changes any more, even with a larger budget."""
        choice = choose_sampler(
            self.recipe.search.sampler,
            self.found.space,
            limits=self.setup.limits,
            rungs=self.setup.fidelity.total_costs,
            spent_epochs=self.found.probe_epochs,
        )
        self.found.sampler, self.found.sampler_reason = choice.name, choice.reason
        probed = Probed(
            space=self.found.space,
            sampler=choice.name,
            sampler_reason=choice.reason,
            probe_epochs=self.found.probe_epochs,
            warnings=self._probe_warnings,
            device_name=self.found.meta.device,
        )
        self._keep(PROBED, probed)

    def _study(self, facts: TaskInfo) -> StoppedBy:
        setup, found = self.setup, self.found
        sampler = study_sampler(setup, found, self._executor.num_slots, self._session.begun.deterministic)
        found.warnings += study_warnings(setup, found)
        plan = study_plan(setup, found, seconds=self._seconds())
        found.state = new_state(plan)
        self._show("search")
        proposer = make_proposer(setup, found, self._executor)
        self._gpu_packer = make_gpu_packer(setup.source, setup.device, facts.batch_size, self._executor)
        self._peaks = make_peak_predictions(setup.source, facts.batch_size, self._executor)
        study = Study(
            plan,
            found.state,
            sampler=sampler,
            executor=self._executor,
            make_job=self._make_job,
            discard=self._checkpoints.discard,
            free_disk=lambda **failed: self._checkpoints.free_disk(study.state, **failed),
            can_start=self._gpu_packer,
            proposer=proposer,
            sink=self._write,
            observer=None if self._observer is None else self._observe,
        )
        stopped_by = self._run_study(study)
        found.warnings += filter(None, (sampler.warning, None if proposer is None else proposer.warning))
        found.study_seconds = self._seconds()
        return stopped_by

    def _write(self, event: Event) -> None:
        self._checkpoints.write_beside(self.found.state, lambda: self._database.append(event, self._seconds()))

    def _run_study(self, study: Study) -> StoppedBy:
        """From where the file's events left it, to its end."""
        study.replay(self._database.events())
        study.state.occupancy.earlier_seconds = self._database.event_seconds
        ended = self._database.stage(END, StudyEnded)
        if not goes_on(ended, self.setup.limits, seconds=self._seconds()):
            return ended.stopped_by if ended is not None and ended.stopped_by != "interrupted" else "time"
        if study.state.trials:
            study.resume(None if ended is None else ended.stopped_by)
            remove_orphans(study.state, self._checkpoints.path)
        self._database.drop(END)
        stopped_by = study.run()
        self.found.warnings += end_warnings(self.found.sampler, study.state.trials)
        self.found.warnings += filter(None, (self._checkpoints.warning,))
        self._keep(END, StudyEnded(stopped_by=stopped_by, limits=self.setup.limits))
        return stopped_by

    def _make_job(self, trial: Trial, epochs_from: int, epochs_to: int) -> RungJob:
        gpu = None if self._gpu_packer is None else self._gpu_packer.gpu_of(trial)
        peak = None if self._peaks is None else self._peaks(trial)
        where = self._checkpoints.path
        return rung_job(self.setup, trial, epochs_from, epochs_to, checkpoints=where, gpu=gpu, peak_bytes=peak)

    def _finish(self) -> None:
        best, state = best_trial(self.setup.objective, trial_results(self.found)), self.found.state
        if best is None or state is None:
            return
        trial = state.trials[best.number]
        if trial.gradient_accumulation is not None:  # whole, its batches do not fit
            best = replace(best, params={**best.params, "gradient_accumulation": trial.gradient_accumulation})
        reports = trial.counted
        self.found.final = self._fit_again(best, best_epoch(self.setup.objective, reports) or len(reports))
        again = () if self.found.final.training is None else self.found.final.training.reports
        self.found.warnings += filter(None, (self.found.final.warning, unlike_warning(trial.counted, again)))

    def _fit_again(self, best: BestTrial, epochs: int) -> FinalOutcome:
        self._show("final", f"{epochs} epochs of trial {best.number} on train + validation")
        begun = self._session.begun
        threads = begun.meta.num_threads if begun.deterministic else self._executor.cores_alone
        job = final_job(self.setup, best, epochs, weights=self._weights, num_threads=threads)
        kept = restore_final(self._database, seed=job.seed, epochs=epochs)
        if kept is not None:
            return kept
        try:
            outcome = self._executor.fit(job, on_message=self._observe)
        except ProbeError as error:  # what the search measured must not be lost with it
            return FinalOutcome(training=None, test=None, seconds=0.0, warning=f"The final fit failed: {error.message}")
        outcome = with_history(outcome, self._database)
        self._keep(FINAL, outcome)
        return outcome

    def _keep(self, stage: str, record: Any) -> None:
        """A finished stage, which no later session repeats."""
        self._checkpoints.write_beside(self.found.state, lambda: self._database.save(stage, record, self._seconds()))

    def _seconds(self) -> float:
        """Spent on this search, by earlier sessions too."""
        return self._seconds_before + time.monotonic() - self._started

    def _show(self, stage: Stage, message: str | None = None) -> None:
        best = None if self.found.state is None else self.found.state.best
        spent = all_spent(self.found, seconds=self._seconds())
        self._observe(SearchProgress(stage=stage, spent=spent, limits=self.setup.limits, best=best, message=message))

    def _follow_cluster(self) -> None:
        use = self._executor.cluster
        if use is not None and use is not self.found.cluster:
            self.note_cluster(use)

    def _observe(self, record: Any) -> None:
        self._follow_cluster()
        if self._observer is not None:
            self._observer(with_nodes(record, self.found.cluster))
