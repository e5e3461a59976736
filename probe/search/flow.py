"""The stages of a search, one after the other: load, batch probe, LR probes, trials, final fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from probe.errors import NothingFitsError, ProbeError
from probe.recipe.space import ProbedBatch, ProbedLr
from probe.records import RunMeta
from probe.search.algorithms import make_sampler
from probe.search.checks import check_against_task, warnings_for
from probe.search.choice import choose_sampler, grid_warning
from probe.search.dimensions import build_space, central_params, largest_params, optimizers_of
from probe.search.executors import LocalExecutor, num_cores
from probe.search.facts import TaskFacts, describe_task, device_name
from probe.search.final import FinalJob, FinalOutcome, run_final
from probe.search.findings import Findings, Setup, all_spent, make_result, trial_results
from probe.search.jobs import RungJob, checkpoint_path
from probe.search.objective import best_epoch
from probe.search.probing import (
    HIGHEST_LR,
    LOWEST_LR,
    LR_STEPS,
    BatchPlan,
    LrPlan,
    batch_epochs,
    probe_batch,
    probe_lrs,
)
from probe.search.records import BestTrial, ParamValue, SearchProgress, SearchResult, Stage, StoppedBy
from probe.search.space import Space
from probe.search.state import Trial
from probe.search.study import Study, StudyPlan, new_state
from probe.search.views import best_trial
from probe.search.window import window_warning
from probe.seeds import derive_seed

Observer = Callable[[Any], None]


class Search:
    """One search of one recipe. `run` goes through the stages; what each of them found is kept in `found` as it comes."""

    def __init__(
        self,
        setup: Setup,
        *,
        meta: RunMeta,
        executor: LocalExecutor,
        checkpoints: Path,
        weights: Path | None,
        observer: Observer | None,
        started: float,
    ) -> None:
        self.setup = setup
        self.recipe = setup.recipe
        self.found = Findings(
            meta=meta,
            space=Space(dimensions=(), constants=setup.recipe.constants),
            sampler=setup.recipe.search.sampler,
        )
        self._executor = executor
        self._checkpoints = checkpoints
        self._weights = weights
        self._observer = observer
        self._started = started

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
                largest_batch = self._probe_batch(facts)
                self._probe_lr(facts, largest_batch)
                stopped_by = self._study()
                if stopped_by not in ("interrupted", "failures"):
                    self._finish()
            except ProbeError as raised:
                error = raised
        except KeyboardInterrupt:
            stopped_by = "interrupted"
        return make_result(self.setup, self.found, stopped_by=stopped_by, seconds=self._seconds()), error

    def _load(self) -> TaskFacts:
        self._show("load")
        params = central_params(build_space(self.recipe))
        facts: TaskFacts = self._executor.call(describe_task, self.setup.source, params, self.setup.split)
        check_against_task(self.recipe, facts)
        self.found.warnings += warnings_for(self.recipe, facts, self.setup.rungs)
        return facts

    def _probe_batch(self, facts: TaskFacts) -> int | None:
        """The largest batch that fits; None where the recipe does not ask."""
        entry = self.recipe.space.get("batch_size")
        if not isinstance(entry, ProbedBatch):
            return None
        self._show("batch")
        options = self.recipe.batch
        plan = BatchPlan(
            source=self.setup.source,
            params=largest_params(build_space(self.recipe)),
            device=self.setup.device,
            largest=min(bound for bound in (entry.max, options.max, facts.num_train) if bound is not None),
            start=options.start,
            seed=derive_seed(self.setup.seed, "batch"),
        )
        result, error = probe_batch(plan, observer=self._observer)
        self.found.batch_probe = result
        self.found.probe_epochs += batch_epochs(result, facts.num_train)
        self._observe(result)
        if error is not None:
            raise error
        if result.stopped_by == "interrupted":
            raise KeyboardInterrupt
        if result.largest_fit is None:
            raise NothingFitsError(
                f"Not even a batch of 1 fits on {self.setup.device} with the largest model of the space.",
                hint="Lower the upper ends of the space, or search on a device with more memory.",
            )
        return result.largest_fit

    def _probe_lr(self, facts: TaskFacts, largest_batch: int | None) -> None:
        # Asked only now: on a GPU a worker that opens the device holds memory, which the batch probe would have missed.
        self.found.meta = replace(self.found.meta, device=self._executor.call(device_name, self.setup.device))
        entry = self.recipe.space.get("lr")
        ranges: Mapping[str, tuple[float, float]] | None = None
        if isinstance(entry, ProbedLr):
            self._show("lr")
            probes = probe_lrs(self._lr_plan(entry, facts, largest_batch), self._executor, observer=self._observer)
            ranges = probes.ranges
            self.found.lr_probes = probes.results
            self.found.probe_epochs += probes.epochs
            self.found.warnings += probes.warnings
        self.found.space = build_space(self.recipe, largest_batch=largest_batch, lr_ranges=ranges)

    def _lr_plan(self, entry: ProbedLr, facts: TaskFacts, largest_batch: int | None) -> LrPlan:
        space = build_space(self.recipe, largest_batch=largest_batch)
        optimizers = optimizers_of(self.recipe, facts.optimizer)
        keys = optimizers if entry.per == "optimizer" and optimizers else ("",)
        options = self.recipe.lr
        return LrPlan(
            source=self.setup.source,
            entry=entry,
            keys=keys,
            params={key: _probed_params(space, facts, key or next(iter(optimizers), "")) for key in keys},
            device=self.setup.device,
            seed=self.setup.seed,
            num_train=facts.num_train,
            planned_epochs=self.setup.rungs[-1],
            limits=self.setup.limits,
            spent_epochs=self.found.probe_epochs,
            wanted_steps=options.steps or LR_STEPS,
            lowest_lr=options.lowest or LOWEST_LR,
            highest_lr=options.highest or HIGHEST_LR,
        )

    def _study(self) -> StoppedBy:
        setup = self.setup
        plan = StudyPlan(
            space=self.found.space,
            objective=setup.objective,
            rungs=setup.rungs,
            factor=self.recipe.search.fidelity.factor,
            limits=setup.limits,
            seed=setup.seed,
            ladder=self.recipe.search.ladder,
            starts=self.recipe.start,
            probe_epochs=self.found.probe_epochs,
            probe_seconds=self._seconds(),
        )
        choice = choose_sampler(
            self.recipe.search.sampler,
            self.found.space,
            limits=setup.limits,
            rungs=setup.rungs,
            spent_epochs=self.found.probe_epochs,
        )
        sampler = make_sampler(choice.name, self.found.space, mode=setup.objective.mode, seed=setup.seed)
        self.found.sampler, self.found.sampler_reason = choice.name, choice.reason
        if choice.name == "grid":
            warning = grid_warning(
                self.found.space, limits=setup.limits, rungs=setup.rungs, spent_epochs=self.found.probe_epochs
            )
            self.found.warnings += [] if warning is None else [warning]
        self.found.state = new_state(plan)
        self._show("search")
        study = Study(
            plan,
            self.found.state,
            sampler=sampler,
            executor=self._executor,
            make_job=self._make_job,
            discard=self._discard_checkpoint,
            observer=self._observer,
        )
        stopped_by = study.run()
        forgot = window_warning(choice.name, len(self.found.state.trials))
        self.found.warnings += [] if forgot is None else [forgot]
        self.found.study_seconds = self._seconds()
        return stopped_by

    def _make_job(self, trial: Trial, epochs_from: int, epochs_to: int) -> RungJob:
        last = int(trial.params.get("epochs", self.setup.rungs[-1]))
        return RungJob(
            number=trial.number,
            source=self.setup.source,
            params=trial.params,
            seed=trial.seed,
            split=self.setup.split,
            device=self.setup.device,
            planned_epochs=last,
            epochs_from=epochs_from,
            epochs_to=epochs_to,
            checkpoint_in=checkpoint_path(self._checkpoints, trial.number, epochs_from) if epochs_from else None,
            checkpoint_out=None if epochs_to == last else checkpoint_path(self._checkpoints, trial.number, epochs_to),
        )

    def _discard_checkpoint(self, trial: Trial, epochs: int) -> None:
        checkpoint_path(self._checkpoints, trial.number, epochs).unlink(missing_ok=True)

    def _finish(self) -> None:
        best = best_trial(self.setup.objective, trial_results(self.found))
        if best is None or self.found.state is None:
            return
        reports = self.found.state.trials[best.number].reports
        self.found.final = self._fit_again(best, best_epoch(self.setup.objective, reports) or len(reports))
        if self.found.final.warning is not None:
            self.found.warnings.append(self.found.final.warning)

    def _fit_again(self, best: BestTrial, epochs: int) -> FinalOutcome:
        self._show("final", f"{epochs} epochs of trial {best.number} on train + validation")
        job = FinalJob(
            source=self.setup.source,
            params=best.params,
            seed=derive_seed(self.setup.seed, best.number, "final"),
            split=self.setup.split,
            device=self.setup.device,
            epochs=epochs,
            metric=self.setup.objective.metric,
            weights_path=self._weights,
            num_threads=num_cores(),
        )
        try:
            outcome: FinalOutcome = self._executor.call(run_final, job, on_message=self._observe)
        except ProbeError as error:  # what the search measured must not be lost with it
            return FinalOutcome(fit=None, test=None, seconds=0.0, warning=f"The final fit failed: {error.message}")
        return outcome

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _show(self, stage: Stage, message: str | None = None) -> None:
        best = None if self.found.state is None else self.found.state.best
        spent = all_spent(self.found, seconds=self._seconds())
        self._observe(SearchProgress(stage=stage, spent=spent, limits=self.setup.limits, best=best, message=message))

    def _observe(self, record: Any) -> None:
        if self._observer is not None:
            self._observer(record)


def _probed_params(space: Space, facts: TaskFacts, optimizer: str) -> dict[str, ParamValue]:
    """The configuration of a range test: the middle of the space, with this optimizer ("": the task's own callable)."""
    fixed: dict[str, ParamValue] = {"optimizer": optimizer} if optimizer else {}
    return {"batch_size": facts.batch_size, **central_params(space, **fixed)}
