"""The result of a search that wrote none, because it was killed or still runs. Its database is only read."""

from __future__ import annotations

from pathlib import Path

from probe.device.select import parse_device
from probe.search.jobs.jobs import FinalOutcome, final_seed
from probe.search.plans import study_plan
from probe.search.records.cluster import ClusterUse
from probe.search.records.search import DATABASE_FILE, SearchResult
from probe.search.results import StageResults, make_result, trial_results
from probe.search.resume import restore_probes
from probe.search.schedulers.registry import SchedulerChoice
from probe.search.session import stored_recipe, stored_start
from probe.search.settings import SearchSettings, make_settings
from probe.search.space.space import Space
from probe.search.storage.database import SearchDatabase
from probe.search.storage.schema import CLUSTER, END, FINAL, LOAD, SCHEDULER, StudyEnded
from probe.search.study.plan import new_state
from probe.search.study.snapshots import best_trial
from probe.search.task_info import TaskInfo
from probe.tasks.source import recipe_source


def stored_result(folder: Path) -> SearchResult:
    """Return what the search in `folder` has found so far, as far as its database can be read. Raises OutputError if
    not even its start can be read."""
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
