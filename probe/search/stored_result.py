"""What the stored events of a search tell without running it: its result so far, and its curve of best values. Read only."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from probe.device.select import parse_device
from probe.errors import OutputError
from probe.recipe.load import parse_recipe
from probe.recipe.schema import Recipe
from probe.search.compare.compare import improving
from probe.search.jobs.jobs import FinalOutcome, final_seed
from probe.search.records.cluster import ClusterUse
from probe.search.records.comparison import Incumbent
from probe.search.records.objective import reduced_value
from probe.search.records.search import DATABASE_FILE, SearchResult
from probe.search.results import StageResults, make_result, trial_results
from probe.search.resume import restore_probes
from probe.search.schedulers.fidelity import make_fidelity_schedule
from probe.search.schedulers.registry import SchedulerChoice, choose_scheduler, make_scheduler
from probe.search.settings import make_settings, recipe_objective
from probe.search.space.space import Space, check_positions
from probe.search.storage.database import SearchDatabase
from probe.search.storage.schema import CLUSTER, END, FINAL, LOAD, SCHEDULER, SearchStart, StudyEnded
from probe.search.study.events import EpochReported, Event, TrialEnded, TrialSuggested
from probe.search.study.plan import new_state
from probe.search.study.snapshots import best_trial
from probe.search.study.state import SearchState
from probe.search.task_info import TaskInfo
from probe.tasks.source import recipe_source


def stored_start(database: SearchDatabase) -> SearchStart:
    """Return how the search in a database was started."""
    with database.restoring():
        rows, sessions = database.facts(), database.sessions()
        missing = {"recipe", "device", "data_dir", "num_workers", "deterministic"} - rows.keys()
        if missing or not sessions:
            raise ValueError(f"{', '.join(sorted(missing)) or 'its session'} is missing")
        return SearchStart(
            recipe=rows["recipe"],
            device=rows["device"],
            data_dir=rows["data_dir"],
            num_workers=int(rows["num_workers"]),
            deterministic=rows["deterministic"] == "yes",
            meta=sessions[0],
        )


def stored_recipe(start: SearchStart, database: SearchDatabase) -> Recipe:
    """Return the recipe that a search was started with."""
    with database.restoring():
        return parse_recipe(tomllib.loads(start.recipe), where=str(database.path))


def stored_result(folder: Path, *, check: Callable[[SearchResult], object] | None = None) -> SearchResult:
    """Return what the search in `folder` has found so far.

    Damaged stages, and all events from the first one that is damaged or contradicts the earlier ones, are left out, with a
    warning. `check` raises an exception if a result cannot be used. Raises OutputError if not even the start can be read.
    """
    with SearchDatabase.open(folder / DATABASE_FILE, to_write=False, lenient=True) as database:
        rows = _Rows(database, stored_start(database), check)
        try:
            result = rows.result(len(rows.events))
        except Exception as error:
            result, problem = rows.result_before(error)
            database.damage = [*(database.damage or ()), problem.message]
        damage = [f"Only part of the search could be read: {text}" for text in database.damage or ()]
        added = [*filter(None, [database.log_warning]), *damage]
        return replace(result, warnings=(*result.warnings, *added)) if added else result


def check_stored(database: SearchDatabase, start: SearchStart) -> None:
    """Raise OutputError if rows of a search are damaged or contradict each other."""
    rows = _Rows(database, start, None)
    try:
        rows.result(len(rows.events))
    except Exception as error:
        raise rows.result_before(error)[1] from error


class _Rows:
    """The rows of a search, and the results that follow from its first events."""

    def __init__(
        self, database: SearchDatabase, start: SearchStart, check: Callable[[SearchResult], object] | None
    ) -> None:
        from probe.search.plans import study_plan  # loads all samplers, which the curve does without

        self._database = database
        self._check = check
        with database.restoring():
            recipe = stored_recipe(start, database)
            self._settings = make_settings(
                recipe,
                recipe_source(recipe, data_dir=Path(start.data_dir)),
                device=parse_device(start.device),
                num_workers=start.num_workers,
                scheduler=database.stage(SCHEDULER, SchedulerChoice),
            )
            self._found = StageResults(
                meta=start.meta,
                space=Space(dimensions=(), constants=recipe.constants),
                sampler=recipe.search.sampler,
                num_resumes=len(database.sessions()) - 1,
            )
            self._found.task = database.stage(LOAD, TaskInfo)
            has_probed = restore_probes(self._found, database)
            self._plan = study_plan(self._settings, self._found, seconds=0.0) if has_probed else None
            self._ended, self._seconds = database.stage(END, StudyEnded), database.seconds()
            self._found.cluster = database.stage(CLUSTER, ClusterUse)
            self._final = database.stage(FINAL, FinalOutcome)
        self.events = [(event, database.reading) for event in database.events()] if has_probed else []
        """Each event with its name."""

    def result(self, num_events: int) -> SearchResult:
        """Return the result after so many events. Raises any exception if they contradict each other."""
        found, database = replace(self._found, warnings=list(self._found.warnings)), self._database
        if self._plan is not None:
            found.state = new_state(self._plan)
            for event, _ in self.events[:num_events]:
                if isinstance(event, TrialSuggested):
                    check_positions(self._plan.space, event.positions)
                found.state.apply(event)
            found.event_seconds, found.study_seconds = database.event_seconds, self._seconds
        if found.cluster is not None:
            found.warnings += found.cluster.refusals
        found.final = self._final_of(found)
        if found.final is not None and found.final.warning is not None:
            found.warnings.append(found.final.warning)
        is_whole = num_events == len(self.events) and not database.damage
        stopped_by = "interrupted" if self._ended is None or not is_whole else self._ended.stopped_by
        result = make_result(self._settings, found, stopped_by=stopped_by, seconds=self._seconds)
        if self._check is not None:
            self._check(result)
        return result

    def result_before(self, error: Exception) -> tuple[SearchResult, OutputError]:
        """Return the result after the last event that it can be made of, and the error for the next one. `error`: why it
        cannot be made of all events. Raises OutputError if it cannot be made of none."""
        works, fails = 0, len(self.events)
        with self._database.restoring():
            result = self.result(0)
        while fails - works > 1:
            middle = (works + fails) // 2
            try:
                result, works = self.result(middle), middle
            except Exception as earlier:
                error, fails = earlier, middle
        problem = self._database.contradiction(error, self.events[works][1])
        return replace(result, stopped_by="interrupted"), problem

    def _final_of(self, found: StageResults) -> FinalOutcome | None:
        """The stored final training, unless it is of an earlier winner: a resumed search may have found a better trial."""
        best, outcome = best_trial(self._settings.objective, trial_results(found)), self._final
        if outcome is None or outcome.training is None or best is None:
            return outcome
        return outcome if outcome.training.seed == final_seed(self._settings.seed, best.number) else None


def stored_incumbents(file: Path, result: SearchResult) -> tuple[Incumbent, ...] | None:
    """Return the curve of the search in a search.sqlite; None if its events do not lead to `result`. Raises OutputError if they
    contradict each other."""
    with SearchDatabase.open(file, to_write=False, lenient=True) as database, database.restoring():
        recipe = stored_recipe(stored_start(database), database)
        choice = database.stage(SCHEDULER, SchedulerChoice) or choose_scheduler(recipe)
        events = tuple(database.events())
        num_suggested = sum(isinstance(event, TrialSuggested) for event in events)
        if num_suggested < len(result.trials):
            return None
        return incumbents_of_events(recipe, choice, events, result)


def incumbents_of_events(
    recipe: Recipe, choice: SchedulerChoice, events: Iterable[Event], result: SearchResult
) -> tuple[Incumbent, ...]:
    """Return the curve of a search from its recipe, scheduler, events and result. If the best epoch gives a trial its
    value, every epoch may bring a new incumbent; otherwise only the end of a rung."""
    objective = recipe_objective(recipe)
    fidelity = make_fidelity_schedule(recipe, choice.rungs)
    scheduler = make_scheduler(
        choice.name, choice.rungs, factor=choice.factor, mode=objective.mode, costs=fidelity.costs
    )
    state = SearchState(scheduler=scheduler, objective=objective, fidelity=fidelity)
    valued = {trial.number for trial in result.trials if trial.value is not None}
    each_epoch = objective.reduce == "best" and fidelity.continues_from_checkpoint
    found: list[Incumbent] = []
    for event in events:
        state.apply(event)
        if not isinstance(event, (EpochReported, TrialEnded)) or event.number not in valued:
            continue
        if isinstance(event, EpochReported) and not each_epoch:
            continue
        value = reduced_value(objective, state.trials[event.number].counted)
        if value is not None:
            found.append(Incumbent(epochs=result.spent.probe_epochs + float(state.spent_epochs), value=value))
    return improving(found, objective.better, result)
