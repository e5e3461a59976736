"""The loop of a search: a free slot takes the next job, and the job's reports go to sampler and scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from probe.search.executors.protocol import Executor
from probe.search.jobs.jobs import JobEpoch, JobEvent, Outcome, RungJob, RungReport
from probe.search.records.search import ParamValue, SearchStoppedBy
from probe.search.samplers.protocol import Sampler
from probe.search.space.dimensions import central_params
from probe.search.space.space import complete, configuration_key, params_at, positions_of
from probe.search.study.budget import NewTrial, Usage, epochs_left, next_step, reached_limit
from probe.search.study.events import EpochReported, Event, SearchResumed, TrialEnded, TrialStarted, TrialSuggested
from probe.search.study.kept_checkpoints import CheckpointKeeper, epochs_of_ended_jobs
from probe.search.study.plan import Proposal, Proposer, StudyHooks, StudyPlan
from probe.search.study.snapshots import ProgressTimer, progress, trial_result
from probe.search.study.state import SearchState
from probe.search.study.trial import Trial
from probe.search.study.tried import TriedConfigurations
from probe.seeds import derive_seed

MAX_FAILURES_IN_A_ROW = 3
"""After so many failures without a completed epoch, the middle of the space is tried; if it fails, the search ends."""
POLL_SECONDS = 0.5

MakeJob = Callable[[Trial, int, int], RungJob]
"""(trial, epochs from, epochs to) -> the job."""


class Study:
    """Runs the trials of one search on one executor. All that decisions depend on is in `state`, which changes by
    events only. Each event is stored by `hooks.sink` first."""

    def __init__(
        self,
        plan: StudyPlan,
        state: SearchState,
        *,
        sampler: Sampler,
        executor: Executor,
        make_job: MakeJob,
        hooks: StudyHooks | None = None,
    ) -> None:
        self.plan = plan
        self.state = state
        self._sampler = sampler
        self._executor = executor
        self._make_job = make_job
        self._hooks = hooks or StudyHooks()
        self._keeper = None if self._hooks.discard is None else CheckpointKeeper(plan, state, self._hooks.discard)
        self._held: tuple[Trial, int] | None = None
        """Trial and rung that come next, waiting until `can_start` allows them."""
        self._timer = ProgressTimer()
        self._started = self._hooks.clock()
        self._tried = TriedConfigurations(plan.space, state.trials)
        self._middle = central_params(plan.space)
        self._guesses = [complete(plan.space, guess, seed=0) for guess in plan.guesses]

    def replay(self, events: Iterable[Event]) -> None:
        """Restore the state from its events, from which sampler and scheduler learn. No hook is called."""
        for event in events:
            self.state.apply(event)
            if isinstance(event, TrialSuggested):
                self._sampler.ask(event.number, at=event.positions)
                self._tried.add(event.params)
            elif isinstance(event, TrialEnded):
                self._tell_sampler(self.state.trials[event.number], event.report.outcome)

    def resume(self, after: SearchStoppedBy | None) -> None:
        """After `replay`: return unfinished rungs to their start. `after`: how the study had ended; None if killed."""
        self._emit(SearchResumed(after=after))

    def run(self) -> SearchStoppedBy:
        """Search until a limit is reached, nothing is left to try, every trial fails, or Ctrl-C. Jobs that still run
        then are cancelled; the epochs they reported count."""
        end: SearchStoppedBy
        try:
            end = self._loop()
        except KeyboardInterrupt:
            end = "interrupted"
        self._executor.cancel()
        for trial in list(self.state.running.values()):
            ended = TrialEnded(number=trial.number, report=RungReport(outcome="cancelled", seconds=0.0))
            if end == "interrupted":
                # Ctrl-C may have come after an event was stored and before it was applied. Events that follow from the state
                # here could contradict the file, so the file is left as after a kill.
                self.state.apply(ended)
            else:
                self._emit(ended)
        return end

    @property
    def seconds(self) -> float:
        """Seconds since the search started, probes included."""
        return self.plan.probe_seconds + self._hooks.clock() - self._started

    def _loop(self) -> SearchStoppedBy:
        proposer, time_limit = self._hooks.proposer, self.plan.limits.time_seconds
        while True:
            if self._only_fails and self._middle_has_ended():
                return "failures"
            self._fill_slots()
            if not self.state.running:
                limit = reached_limit(self.state.scheduler, self.plan.limits, self._usage(), pace=self.state.pace)
                return limit or (proposer.ended_by if proposer else None) or "space"
            for event in self._executor.poll(self._poll_seconds()):
                self._handle(event)
            if time_limit is not None and self.seconds >= time_limit:
                return "time"
            self._show_progress()

    @property
    def _only_fails(self) -> bool:
        return not self.state.has_trained and self.state.num_failed_in_a_row >= MAX_FAILURES_IN_A_ROW

    def _middle_has_ended(self) -> bool:
        key = configuration_key(self._middle)
        return any(configuration_key(trial.params) == key and trial.status is not None for trial in self.state.trials)

    def _fill_slots(self) -> None:
        can_start, free_disk = self._hooks.can_start, self._hooks.free_disk
        while len(self.state.running) < self._executor.num_slots:
            found = self._held or self._next_job()
            if found is None:
                return
            trial, rung = found
            if can_start is not None and not can_start(trial, list(self.state.running.values())):
                self._held = found
                return
            self._held = None
            fidelity = self.state.fidelity
            self._emit(TrialStarted(number=trial.number, rung=rung))
            job = self._make_job(trial, fidelity.epochs_before(rung), self.state.epochs_at(trial, rung))
            if free_disk is not None and job.checkpoint_out is not None:
                free_disk()
            self._executor.submit(job)

    def _next_job(self) -> tuple[Trial, int] | None:
        """Decide on the next trial and rung: a repeated rung, a proposal, a promotion or a new trial, in this order."""
        usage, proposer = self._usage(), self._hooks.proposer
        for trial in self.state.to_retry.values():
            if self.state.scheduler.costs[trial.rung + 1] <= epochs_left(self.plan.limits, usage):
                return trial, trial.rung + 1
        if proposer is not None and proposer.is_due(self.state):
            return self._next_proposed(proposer, usage)
        is_given = len(self.state.trials) < len(self.plan.starts)
        can_ask = is_given or (self._tried.num_left > 0 and not self._sampler.exhausted)
        step = next_step(self.state.scheduler, self.plan.limits, usage, pace=self.state.pace, can_ask=can_ask)
        if step is None:
            return None
        if isinstance(step, NewTrial):
            return self._ask(), 0
        return self.state.trials[step.number], step.rung

    def _next_proposed(self, proposer: Proposer, usage: Usage) -> tuple[Trial, int] | None:
        """One trial at a time, since each step depends on the outcome of the one before."""
        step = next_step(self.state.scheduler, self.plan.limits, usage, pace=self.state.pace)
        if self.state.running or not isinstance(step, NewTrial):
            return None
        found = proposer.propose(self.state, epochs_left=epochs_left(self.plan.limits, usage))
        return None if found is None else (self._ask(found), 0)

    def _ask(self, proposal: Proposal | None = None) -> Trial:
        """Choose the configuration of a new trial: the proposal's, a given one, or the sampler's."""
        number = len(self.state.trials)
        space, seed = self.plan.space, derive_seed(self.plan.seed, number, "start")
        given = self._given(seed) if proposal is None else dict(proposal.params)
        if given is None:
            positions = self._sampler.ask(number)
            params = params_at(space, positions)
            if params in self._tried:
                self._sampler.discard(number)
                given = self._tried.pick_another(positions, seed=seed)
        if given is not None:
            params, positions = given, self._sampler.ask(number, at=positions_of(space, given))
        self._tried.add(params)
        trial_seed = derive_seed(self.plan.seed, number, "training") if proposal is None else proposal.seed
        refinement = None if proposal is None else proposal.refinement
        self._emit(
            TrialSuggested(number=number, positions=positions, params=params, seed=trial_seed, refinement=refinement)
        )
        return self.state.trials[number]

    def _given(self, seed: int) -> dict[str, ParamValue] | None:
        """Return the next start point or guess; None if the sampler decides."""
        number = len(self.state.trials)
        if number < len(self.plan.starts):
            return self._tried.complete(self.plan.starts[number], seed=seed)
        others = [*([self._middle] if self._only_fails else []), *self._guesses]
        return next((dict(params) for params in others if params not in self._tried), None)

    def _handle(self, event: JobEvent) -> None:
        if isinstance(event, JobEpoch):
            self._emit(EpochReported(number=event.number, report=event.report))
            return
        report = event.report
        trial = self.state.trials[event.number]
        is_split = self.plan.on_oom == "accumulate" and not trial.was_crowded_out(report)
        split_again = report.next_gradient_accumulation if is_split else None
        self._emit(TrialEnded(number=event.number, report=report, gradient_accumulation=split_again))
        self._tell_sampler(trial, report.outcome)
        if self._hooks.free_disk is not None and report.is_unsaved:
            self._hooks.free_disk(has_failed=True)
        self._discard_checkpoints(trial)
        if self._hooks.observer is not None and not trial.retry:
            self._hooks.observer(trial_result(self.state, trial))

    def _tell_sampler(self, trial: Trial, outcome: Outcome) -> None:
        """Tell the sampler the score of each rung, and which configurations are infeasible: also one that exceeds the
        recipe's trial_time or whose code fails in the first rung, since the cause is usually the configuration."""
        if trial.status in ("oom", "host_oom", "diverged", "infeasible") or (
            trial.status in ("timeout", "failed") and trial.rung < 0
        ):
            self._sampler.tell(trial.number, "infeasible")
        elif outcome in ("finished", "early_stopped"):
            self._sampler.tell(trial.number, "scored", self.state.score(trial, trial.rung))
        elif trial.status == "crashed" and trial.rung < 0:
            self._sampler.tell(trial.number, "lost")

    def _discard_checkpoints(self, trial: Trial) -> None:
        if self._keeper is None:
            return
        usage = replace(self._usage(), spent_epochs=self.plan.probe_epochs + epochs_of_ended_jobs(self.state))
        num_starts = max(0, len(self.plan.starts) - len(self.state.trials))
        self._keeper.trial_ended(
            trial,
            usage,
            pace=self.state.pace,
            num_slots=self._executor.num_slots,
            max_new=self._tried.num_left + num_starts,
            held=None if self._held is None else self._held[0],
        )

    def _emit(self, event: Event) -> None:
        if self._hooks.sink is not None:
            self._hooks.sink(event)
        self.state.apply(event, self.seconds)

    def _usage(self) -> Usage:
        return Usage(
            trials=len(self.state.trials),
            spent_epochs=self.plan.probe_epochs + self.state.spent_epochs,
            promised_epochs=self.state.promised_epochs,
            seconds=self.seconds,
        )

    def _poll_seconds(self) -> float:
        limit = self.plan.limits.time_seconds
        return POLL_SECONDS if limit is None else max(0.0, min(POLL_SECONDS, limit - self.seconds))

    def _show_progress(self) -> None:
        observer = self._hooks.observer
        if observer is None or not self._timer.is_due(self._hooks.clock(), self.state.best):
            return
        shown = progress(
            self.state,
            self.plan.limits,
            self._usage(),
            probe_epochs=self.plan.probe_epochs,
            num_slots=self._executor.num_slots,
            places=self._executor.places(),
        )
        observer(shown)
