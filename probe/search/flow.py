"""The stages of a search: load, batch probe, learning rate probe, sampler, trials, final training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from probe.device.select import describe_device
from probe.errors import ProbeError
from probe.recipe.space import ProbedBatch, ProbedLr
from probe.search import plans
from probe.search.batch_probe import probe_largest_batch
from probe.search.checks import check_against_task, warnings_for
from probe.search.executors.gpu_packing import GpuPacker, PeakPredictions, make_gpu_packer, make_peak_predictions
from probe.search.executors.protocol import SearchExecutor
from probe.search.executors.slots import device_title
from probe.search.jobs.jobs import FinalOutcome, RungJob, moved_weights, unlike_warning
from probe.search.jobs.worker_calls import run_final_training
from probe.search.lr_probe import probe_lrs
from probe.search.proposers import make_proposer
from probe.search.records.cluster import ClusterUse
from probe.search.records.objective import best_epoch
from probe.search.records.search import BestTrial, SearchProgress, SearchResult, SearchStoppedBy, Stage
from probe.search.results import StageResults, all_spent, make_result, trial_results
from probe.search.resume import restore_final, restore_probes, resume_study, with_history
from probe.search.session import SearchSession
from probe.search.settings import SearchSettings
from probe.search.space.dimensions import build_space, names_in
from probe.search.space.space import Space
from probe.search.storage.schema import BATCH, END, FINAL, LOAD, LR_PREFIX, PROBED, SCHEDULER, Probed, StudyEnded
from probe.search.study.events import Event
from probe.search.study.plan import StudyHooks, new_state
from probe.search.study.snapshots import best_trial, with_nodes
from probe.search.study.study import Study
from probe.search.study.trial import Trial
from probe.search.task_info import describe_task, first_feasible, same_task_info

Observer = Callable[[Any], None]
ENDED_EARLY: tuple[SearchStoppedBy, ...] = ("interrupted", "failures")
"""Ends of a search after which its winner is not trained again."""


class Search:
    """One search of one recipe. The results of its stages are kept in `found` and in the database."""

    def __init__(
        self,
        settings: SearchSettings,
        *,
        session: SearchSession,
        executor: SearchExecutor,
        weights: Path | None,
        observer: Observer | None,
        started: float,
    ) -> None:
        """`weights`: file for the winner's weights, or None. `started`: start of the process by `time.monotonic()`."""
        self.settings = settings
        self.recipe = settings.recipe
        self.found = StageResults(
            meta=session.start.meta,
            space=Space(dimensions=(), constants=settings.recipe.constants),
            sampler=settings.recipe.search.sampler,
            num_resumes=session.num_resumes,
            warnings=list(session.warnings),
        )
        self._session = session
        self._database = session.database
        self._executor = executor
        self._checkpoints = session.checkpoint_folder
        self._weights = weights
        self._observer = observer
        self._started = started
        self._stopped_by: SearchStoppedBy = "failures"
        self._probe_warnings: tuple[str, ...] = ()
        self._gpu_packer: GpuPacker | None = None
        self._peaks: PeakPredictions | None = None
        self._seconds_before = session.database.seconds()

    def run(self) -> SearchResult:
        """Go through all stages. Ctrl-C ends the search with what it has found. Raises ProbeError; after the task was
        loaded, its `result` is what the search has found."""
        error: ProbeError | None = None
        try:
            for stage in self._stages():
                stage()
        except KeyboardInterrupt:
            self._stopped_by = "interrupted"
        except ProbeError as raised:
            if self.found.task is None:
                raise
            error = raised
        self._follow_cluster()
        self.found.event_seconds = self._database.event_seconds
        result = make_result(self.settings, self.found, stopped_by=self._stopped_by, seconds=self._seconds())
        if error is not None:
            error.result = result
            raise error
        return result

    def _stages(self) -> Iterator[Callable[[], None]]:
        """The stages of the search, without those that an earlier session finished."""
        yield self._load
        if not restore_probes(self.found, self._database):
            yield self._probe_batch
            yield self._probe_lr
            yield self._choose_sampler
        yield self._run_trials
        if self._stopped_by not in ENDED_EARLY:
            yield self._train_winner

    def note_cluster(self, use: ClusterUse) -> None:
        """Record where this session runs, at its start and whenever nodes join or are lost."""
        known = 0 if self.found.cluster is None else len(self.found.cluster.refusals)
        self.found.warnings += use.refusals[known:]
        self.found.cluster = use
        self._session.note_cluster(use, self._seconds())

    def _load(self) -> None:
        self._show("load")
        describe = partial(
            self._executor.run, describe_task, self.settings.source, self.settings.split, on="every_machine"
        )
        task = same_task_info(first_feasible(plans.load_params(self.settings), describe))
        task = self._session.recognized(task)
        self.settings = replace(self.settings, reference=task.reference)
        check_against_task(self.recipe, task)
        self._session.accept()
        self._keep(SCHEDULER, self.settings.scheduler)
        self._keep(LOAD, task)
        self._session.note_cluster(self.found.cluster, self._seconds())
        self.found.warnings += warnings_for(self.recipe, task, self.settings.fidelity)
        self.found.task = task

    def _probe_batch(self) -> None:
        entry = self.recipe.space.get("batch_size")
        if not isinstance(entry, ProbedBatch):
            return
        self._show("batch")
        if self.settings.device.is_gpu:  # the task's code may have made a worker hold memory of the GPU
            self._executor.close_idle()
        known, plan = self.found.batch_probe, plans.batch_probe_plan(self.settings, entry, self.found.loaded_task)
        probe = probe_largest_batch(plan, self._executor, known=known, observer=self._observe)
        self.found.batch_probe = probe.result
        self._add_probe(probe.epochs, probe.warnings)
        if probe.result is not None and known is None and probe.result.stopped_by in ("finished", "nothing_fits"):
            self._keep(BATCH, probe.result)
        if probe.error is not None:
            raise probe.error
        self.found.largest_batch = probe.largest

    def _probe_lr(self) -> None:
        # Only now: on a GPU, a worker that has opened the device holds memory, which the batch probe would have missed.
        precisions = names_in(self.recipe, "precision") or ("fp32",)
        described = self._executor.run(describe_device, self.settings.device, precisions, on="every_gpu")
        self.found.meta = replace(self.found.meta, device=device_title([name for name, _ in described]))
        self._add_probe(0.0, tuple(dict.fromkeys(text for _, warnings in described for text in warnings)))
        entry = self.recipe.space.get("lr")
        ranges: Mapping[str, tuple[float, float]] | None = None
        if isinstance(entry, ProbedLr):
            self._show("lr")
            probes = probe_lrs(
                plans.lr_probe_plan(self.settings, self.found, entry, self.found.loaded_task),
                self._executor,
                known=self.found.lr_probes,
                keep=lambda key, probe: self._keep(f"{LR_PREFIX}{key}", probe),
                observer=self._observer,
            )
            ranges = probes.ranges
            self.found.lr_probes = probes.results
            self._add_probe(probes.epochs, probes.warnings)
        self.found.space = build_space(self.recipe, largest_batch=self.found.largest_batch, lr_ranges=ranges)

    def _add_probe(self, epochs: float, warnings: tuple[str, ...]) -> None:
        self.found.probe_epochs += epochs
        self.found.warnings += warnings
        self._probe_warnings += warnings

    def _choose_sampler(self) -> None:
        """Choose the sampler and store what the trials depend on. A larger budget does not change it any more."""
        choice = plans.sampler_choice(self.settings, self.found)
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

    def _run_trials(self) -> None:
        settings, found, executor = self.settings, self.found, self._executor
        deterministic = self._session.start.deterministic
        sampler = plans.study_sampler(settings, found, executor.num_slots, deterministic=deterministic)
        found.warnings += plans.study_warnings(settings, found)
        plan = plans.study_plan(settings, found, seconds=self._seconds())
        state = found.state = new_state(plan)
        self._show("search")
        proposer = make_proposer(settings, found, executor)
        self._gpu_packer = make_gpu_packer(settings.source, settings.device, found.loaded_task.batch_size, executor)
        self._peaks = make_peak_predictions(settings.source, found.loaded_task.batch_size, executor)
        hooks = StudyHooks(
            sink=self._write,
            observer=None if self._observer is None else self._observe,
            discard=self._checkpoints.discard,
            free_disk=partial(self._checkpoints.free_disk, state),
            can_start=self._gpu_packer,
            proposer=proposer,
        )
        study = Study(plan, state, sampler=sampler, executor=executor, make_job=self._make_job, hooks=hooks)
        self._stopped_by = self._run_study(study)
        found.warnings += filter(None, (sampler.warning, None if proposer is None else proposer.warning))
        found.study_seconds = self._seconds()

    def _write(self, event: Event) -> None:
        self._checkpoints.write_beside(self.found.state, lambda: self._database.append(event, self._seconds()))

    def _run_study(self, study: Study) -> SearchStoppedBy:
        """Continue from the stored events, if there are any, to the end."""
        ended_by = resume_study(study, self._database, self._checkpoints, seconds=self._seconds())
        if ended_by is not None:
            return ended_by
        self._database.drop(END)
        stopped_by = study.run()
        self.found.warnings += plans.end_warnings(self.found.sampler, study.state.trials) + self._checkpoints.warnings
        self._keep(END, StudyEnded(stopped_by=stopped_by, limits=self.settings.limits))
        return stopped_by

    def _make_job(self, trial: Trial, epochs_from: int, epochs_to: int) -> RungJob:
        choice = None if self._gpu_packer is None else self._gpu_packer.choice(trial)
        return plans.rung_job(
            self.settings,
            trial,
            epochs_from,
            epochs_to,
            checkpoints=self._checkpoints.path,
            choice=choice,
            peak_bytes=None if self._peaks is None else self._peaks(trial),
        )

    def _train_winner(self) -> None:
        best, state = best_trial(self.settings.objective, trial_results(self.found)), self.found.state
        if best is None or state is None:
            return
        trial = state.trials[best.number]
        if trial.gradient_accumulation is not None:  # its whole batches do not fit
            best = replace(best, params={**best.params, "gradient_accumulation": trial.gradient_accumulation})
        reports = trial.counted
        outcome = self._final_training(best, best_epoch(self.settings.objective, reports) or len(reports))
        again = () if outcome.training is None else outcome.training.reports
        self.found.final = outcome
        self.found.warnings += filter(None, (outcome.warning, unlike_warning(reports, again)))

    def _final_training(self, best: BestTrial, epochs: int) -> FinalOutcome:
        self._show("final", f"{epochs} epochs of trial {best.number} on train + validation")
        start = self._session.start
        threads = start.meta.num_threads if start.deterministic else self._executor.resources.num_cores
        weights = self._weights
        if weights is not None and self._session.storage is not None:
            # The machine of the final training may not see the run's folder. It writes the weights beside the checkpoints.
            weights = self._checkpoints.path / weights.name
        job = plans.final_job(self.settings, best, epochs, weights=weights, num_threads=threads)
        kept = restore_final(self._database, seed=job.seed, epochs=epochs)
        if kept is not None:
            return kept
        try:
            outcome = self._executor.run(run_final_training, job, on="alone", on_message=self._observe)
        except ProbeError as error:  # the results of the search must not be lost
            reason = " ".join(filter(None, (error.message, error.hint)))
            return FinalOutcome(training=None, test=None, seconds=0.0, warning=f"The final training failed: {reason}")
        outcome = with_history(moved_weights(outcome, weights, self._weights), self._database)
        self._keep(FINAL, outcome)
        return outcome

    def _keep(self, stage: str, record: Any) -> None:
        """Store the result of a stage, so that no later session repeats it."""
        self._checkpoints.write_beside(self.found.state, lambda: self._database.save(stage, record, self._seconds()))

    def _seconds(self) -> float:
        """Seconds spent on this search, in all sessions."""
        return self._seconds_before + time.monotonic() - self._started

    def _show(self, stage: Stage, message: str | None = None) -> None:
        best = None if self.found.state is None else self.found.state.best
        spent = all_spent(self.found, seconds=self._seconds())
        self._observe(SearchProgress(stage=stage, spent=spent, limits=self.settings.limits, best=best, message=message))

    def _follow_cluster(self) -> None:
        if (use := self._executor.resources.cluster) is not None and use is not self.found.cluster:
            self.note_cluster(use)

    def _observe(self, record: Any) -> None:
        self._follow_cluster()
        if self._observer is not None:
            self._observer(with_nodes(record, self.found.cluster))
