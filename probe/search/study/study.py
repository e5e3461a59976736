"""The loop: a free slot asks what to do, a job runs, its reports come back, sampler and ladder learn from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

from probe.search.executors.protocol import Executor
from probe.search.jobs.jobs import JobEpoch, JobEvent, Outcome, RungJob
from probe.search.records.search import ParamValue
from probe.search.samplers.protocol import Sampler
from probe.search.space.dimensions import central_params
from probe.search.space.space import complete, configuration_key, params_at, positions_of
from probe.search.study.budget import NewTrial, Pace, Usage, epochs_left, next_step, reached_limit
from probe.search.study.events import EpochReported, Event, SearchResumed, TrialEnded, TrialStarted, TrialSuggested
from probe.search.study.kept_checkpoints import CheckpointKeeper, settled_epochs
from probe.search.study.pacing import Pacing
from probe.search.study.plan import StudyPlan
from probe.search.study.proposer import Proposal, Proposer
from probe.search.study.snapshots import progress, trial_result
from probe.search.study.state import SearchState, Trial
from probe.search.study.tried import TriedConfigurations
from probe.seeds import derive_seed

MAX_FAILURES_IN_A_ROW = 3
"""While no trial has finished an epoch: then the middle of the space is tried, and a failure there is the task's."""
POLL_SECONDS = 0.5

StudyEnd = Literal["trials", "epochs", "time", "space", "refined", "failures", "interrupted"]
MakeJob = Callable[[Trial, int, int], RungJob]
"""(trial, epochs from, epochs to) -> the job."""


class Study:
    """Runs one search on one executor. All it knows is in `state`; `sink` sees every event before it takes effect.

    `discard(trial, epochs)` is told of every checkpoint that nobody will go on from. `free_disk()` is called before a job
    that will write one, and with `has_failed=True` after one that found the disk full. `can_start(trial, running)` says
    whether a trial may start beside those that run; it must allow one alone. `proposer` decides once the sampler has had its
    trials.
    """

    def __init__(
        self,
        plan: StudyPlan,
        state: SearchState,
        *,
        sampler: Sampler,
        executor: Executor,
        make_job: MakeJob,
        discard: Callable[[Trial, int], object] | None = None,
        free_disk: Callable[..., object] | None = None,
        can_start: Callable[[Trial, Sequence[Trial]], bool] | None = None,
        proposer: Proposer | None = None,
        sink: Callable[[Event], None] | None = None,
        observer: Callable[[Any], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan = plan
        self.state = state
        self._sampler = sampler
        self._executor = executor
        self._make_job = make_job
        self._keeper = None if discard is None else CheckpointKeeper(plan, state, discard)
        self._free_disk = free_disk
        self._can_start = can_start
        self._proposer = proposer
        self._held: tuple[Trial, int] | None = None
        """Decided on, and waiting until there is room for it."""
        self._sink = sink
        self._observer = observer
        self._clock = clock
        self._pacing = Pacing()
        self._started = clock()
        self._tried = TriedConfigurations(plan.space, state.trials)
        self._middle = central_params(plan.space)
        self._guesses = [complete(plan.space, guess, seed=0) for guess in plan.guesses]

    def replay(self, events: Iterable[Event]) -> None:
        """Come to where a study was that saw these events; sampler and ladder learn them in their order, nobody else does."""
        for event in events:
            self.state.apply(event)
            if isinstance(event, TrialSuggested):
                self._sampler.ask(event.number, at=event.positions)
                self._tried.add(event.params)
            elif isinstance(event, TrialEnded):
                self._tell_sampler(self.state.trials[event.number], event.outcome)

    def resume(self, after: StudyEnd | None) -> None:
        """After `replay`: what was not over goes back to the start of its rung. `after`: how the study had ended."""
        self._emit(SearchResumed(after=after))

    def run(self) -> StudyEnd:
        """Search until a limit is reached, nothing is left to try, every trial fails, or Ctrl-C.

        Jobs that still run then are ended; the epochs they reported count.
        """
        end: StudyEnd
        try:
            end = self._loop()
        except KeyboardInterrupt:
            end = "interrupted"
        self._executor.cancel()
        for trial in list(self.state.running.values()):
            ended = TrialEnded(number=trial.number, outcome="cancelled", seconds=0.0)
            if end == "interrupted":
                # Ctrl-C may have come between an event's storing and its taking effect: what follows from the state here
                # could contradict the file, which is left as after a kill.
                self.state.apply(ended)
            else:
                self._emit(ended)
        return end

    @property
    def seconds(self) -> float:
        """Since the search began, its probes included."""
        return self.plan.probe_seconds + self._clock() - self._started

    def _loop(self) -> StudyEnd:
        while True:
            if self._only_fails and self._middle_is_over():
                return "failures"
            self._fill_slots()
            if not self.state.running:
                limit = reached_limit(self.state.scheduler, self.plan.limits, self._usage(), pace=self._pace())
                return limit or (self._proposer.ended_by if self._proposer else None) or "space"
            for event in self._executor.poll(self._poll_seconds()):
                self._handle(event)
            if self.plan.limits.time_seconds is not None and self.seconds >= self.plan.limits.time_seconds:
                return "time"
            self._show()

    @property
    def _only_fails(self) -> bool:
        return not self.state.has_trained and self.state.num_failed_in_a_row >= MAX_FAILURES_IN_A_ROW

    def _middle_is_over(self) -> bool:
        key = configuration_key(self._middle)
        return any(configuration_key(trial.params) == key and trial.status is not None for trial in self.state.trials)

    def _fill_slots(self) -> None:
        while len(self.state.running) < self._executor.num_slots:
            found = self._held or self._next_job()
            if found is None:
                return
            trial, rung = found
            if self._can_start is not None and not self._can_start(trial, list(self.state.running.values())):
                self._held = found
                return
            self._held = None
            fidelity = self.state.fidelity
            self._emit(TrialStarted(number=trial.number, rung=rung))
            job = self._make_job(trial, fidelity.epochs_before(rung), self.state.epochs_at(trial, rung))
            if self._free_disk is not None and job.checkpoint_out is not None:
                self._free_disk()
            self._executor.submit(job)

    def _next_job(self) -> tuple[Trial, int] | None:
        usage = self._usage()
        for trial in self.state.to_retry.values():
            if self.state.scheduler.epochs_between(trial.rung + 1) <= epochs_left(self.plan.limits, usage):
                return trial, trial.rung + 1
        is_given = len(self.state.trials) < len(self.plan.starts)
        if self._proposer is not None and self._proposer.is_due(self.state):
            return self._next_proposed(self._proposer, usage)
        can_ask = is_given or (self._tried.num_left > 0 and not self._sampler.exhausted)
        step = next_step(self.state.scheduler, self.plan.limits, usage, pace=self._pace(), can_ask=can_ask)
        if step is None:
            return None
        if isinstance(step, NewTrial):
            return self._ask(), 0
        return self.state.trials[step.number], step.rung

    def _next_proposed(self, proposer: Proposer, usage: Usage) -> tuple[Trial, int] | None:
        """One at a time: each step depends on the outcome of the one before."""
        step = next_step(self.state.scheduler, self.plan.limits, usage, pace=self._pace())
        if self.state.running or not isinstance(step, NewTrial):
            return None
        found = proposer.propose(self.state, epochs_left=epochs_left(self.plan.limits, usage))
        return None if found is None else (self._ask(found), 0)

    def _ask(self, proposal: Proposal | None = None) -> Trial:
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
        """The next configuration where that is not the sampler's to decide."""
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
        self._emit(
            TrialEnded(
                number=event.number,
                outcome=report.outcome,
                seconds=report.seconds,
                memory=report.memory,
                message=report.message,
                gradient_accumulation=report.next_gradient_accumulation if self.plan.on_oom == "accumulate" else None,
                num_passes=report.num_passes,
                fit=report.fit,
            )
        )
        trial = self.state.trials[event.number]
        self._tell_sampler(trial, report.outcome)
        if self._free_disk is not None and report.is_unsaved:
            self._free_disk(has_failed=True)
        self._discard_checkpoints(trial)
        if self._observer is not None and not trial.retry:
            self._observer(trial_result(self.state, trial))

    def _tell_sampler(self, trial: Trial, outcome: Outcome) -> None:
        """Every rung's score; and where a configuration that looked good turned out infeasible.

        One that is too slow for the recipe's trial_time, or with which the task's code fails, is infeasible as well: that
        mostly belongs to the configuration, and the sampler would keep on proposing its like. But where the first rung was
        finished, its score stands.
        """
        if trial.status in ("oom", "diverged", "infeasible") or (
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
        usage = replace(self._usage(), spent_epochs=self.plan.probe_epochs + settled_epochs(self.state))
        num_starts = max(0, len(self.plan.starts) - len(self.state.trials))
        self._keeper.trial_ended(
            trial,
            usage,
            pace=self._pace(),
            num_slots=self._executor.num_slots,
            max_new=self._tried.num_left + num_starts,
            held=None if self._held is None else self._held[0],
        )

    def _emit(self, event: Event) -> None:
        if self._sink is not None:
            self._sink(event)
        self.state.apply(event, self.seconds)

    def _usage(self) -> Usage:
        return Usage(
            trials=len(self.state.trials),
            spent_epochs=self.plan.probe_epochs + self.state.spent_epochs,
            promised_epochs=self.state.promised_epochs,
            seconds=self.seconds,
        )

    def _pace(self) -> Pace:
        return Pace(typical_seconds=self.state.typical_epoch_seconds)

    def _poll_seconds(self) -> float:
        limit = self.plan.limits.time_seconds
        return POLL_SECONDS if limit is None else max(0.0, min(POLL_SECONDS, limit - self.seconds))

    def _show(self) -> None:
        if self._observer is None or not self._pacing.is_due(self._clock(), self.state.best):
            return
        shown = progress(
            self.state,
            self.plan.limits,
            self._usage(),
            probe_epochs=self.plan.probe_epochs,
            num_slots=self._executor.num_slots,
            places=self._executor.places(),
        )
        self._observer(shown)
