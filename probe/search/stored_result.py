"""What the stored events of a search tell without running it: its result so far, and its curve of best values. Read only."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

from probe.device.select import parse_device
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
from probe.search.session import stored_recipe, stored_start
from probe.search.settings import SearchSettings, make_settings, recipe_objective
from probe.search.space.space import Space
from probe.search.storage.database import SearchDatabase
from probe.search.storage.schema import CLUSTER, END, FINAL, LOAD, SCHEDULER, StudyEnded
from probe.search.study.events import EpochReported, Event, TrialEnded, TrialSuggested
from probe.search.study.plan import new_state
from probe.search.study.snapshots import best_trial
from probe.search.study.state import SearchState
from probe.search.task_info import TaskInfo
from probe.tasks.source import recipe_source


def stored_result(folder: Path) -> SearchResult:
    """Return what the search in `folder` has found so far. Raises OutputError if not even its start can be read."""
    from probe.search.plans import study_plan  # loads all samplers, which the curve does without

    with SearchDatabase.open(folder / DATABASE_FILE, to_write=False) as database:
        start = stored_start(database)
        recipe = stored_recipe(start, where=str(database.path))
        settings = make_settings(
            recipe,
            recipe_source(recipe, data_dir=Path(start.data_dir)),
            device=parse_device(start.device),
            num_workers=start.num_workers,
            scheduler=database.stage(SCHEDULER, SchedulerChoice),
        )
        found = StageResults(
            meta=start.meta,
            space=Space(dimensions=(), constants=recipe.constants),
            sampler=recipe.search.sampler,
            num_resumes=len(database.sessions()) - 1,
        )
        found.task = database.stage(LOAD, TaskInfo)
        if restore_probes(found, database):
            found.state = new_state(study_plan(settings, found, seconds=0.0))
            for event in database.events(lenient=True):
                found.state.apply(event)
            found.event_seconds = database.event_seconds
            found.study_seconds = database.seconds()
        found.cluster = database.stage(CLUSTER, ClusterUse)
        if found.cluster is not None:
            found.warnings += found.cluster.refusals
        ended = database.stage(END, StudyEnded)
        found.final = _final(settings, found, database)
        if found.final is not None and found.final.warning is not None:
            found.warnings.append(found.final.warning)
        if database.stopped_at is not None:
            found.warnings.append(f"Only part of the search could be read: {database.stopped_at}")
        stopped_by = "interrupted" if ended is None else ended.stopped_by
        return make_result(settings, found, stopped_by=stopped_by, seconds=database.seconds())


def _final(settings: SearchSettings, found: StageResults, database: SearchDatabase) -> FinalOutcome | None:
    """The stored final training, unless it is of an earlier winner: a resumed search may have found a better trial."""
    best = best_trial(settings.objective, trial_results(found))
    outcome = database.stage(FINAL, FinalOutcome)
    if outcome is None or outcome.training is None or best is None:
        return outcome
    return outcome if outcome.training.seed == final_seed(settings.seed, best.number) else None


def stored_incumbents(file: Path, result: SearchResult) -> tuple[Incumbent, ...] | None:
    """Return the curve of the search in a search.sqlite; None if its events do not lead to `result`."""
    with SearchDatabase.open(file, to_write=False) as database:
        recipe = parse_recipe(tomllib.loads(database.facts().get("recipe", "")), where=str(file))
        choice = database.stage(SCHEDULER, SchedulerChoice) or choose_scheduler(recipe)
        events = tuple(database.events(lenient=True))
    num_suggested = sum(isinstance(event, TrialSuggested) for event in events)
    return None if num_suggested < len(result.trials) else incumbents_of_events(recipe, choice, events, result)


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
