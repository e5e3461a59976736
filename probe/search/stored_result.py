"""The result of a search that wrote none: killed, or still running. Made from its file, which stays as it is."""

from __future__ import annotations

from pathlib import Path

from probe.device.select import parse_device
from probe.search.findings import Findings, Setup, make_result, make_setup, trial_results
from probe.search.jobs.final_job import FinalOutcome, final_seed
from probe.search.plans import study_plan
from probe.search.records.cluster import ClusterUse
from probe.search.records.search import DATABASE_FILE, SearchResult
from probe.search.restore import restore_probes
from probe.search.schedulers.auto_scheduler import SchedulerChoice
from probe.search.session import stored_begun, stored_recipe
from probe.search.space.space import Space
from probe.search.storage.database import SearchDatabase
from probe.search.storage.stages import CLUSTER, END, FINAL, LADDER, LOAD, StudyEnded
from probe.search.study.plan import new_state
from probe.search.study.snapshots import best_trial
from probe.search.task_info import TaskInfo
from probe.tasks.source import recipe_source


def stored_result(folder: Path) -> SearchResult:
    """What the search in `folder` has found so far, as far as its file can be read.

    Raises OutputError where not even its beginning can be.
    """
    with SearchDatabase.open(folder / DATABASE_FILE, to_write=False) as database:
        begun = stored_begun(database)
        recipe = stored_recipe(begun, where=str(database.path))
        setup = make_setup(
            recipe,
            recipe_source(recipe, data_dir=Path(begun.data_dir)),
            device=parse_device(begun.device),
            num_workers=begun.num_workers,
            scheduler=database.stage(LADDER, SchedulerChoice),
        )
        found = Findings(
            meta=begun.meta,
            space=Space(dimensions=(), constants=recipe.constants),
            sampler=recipe.search.sampler,
            num_resumes=len(database.sessions()) - 1,
        )
        found.facts = database.stage(LOAD, TaskInfo)
        if restore_probes(found, database):
            found.state = new_state(study_plan(setup, found, seconds=0.0))
            for event in database.events(lenient=True):
                found.state.apply(event)
            found.event_seconds = database.event_seconds
            found.study_seconds = database.seconds()
        found.cluster = database.stage(CLUSTER, ClusterUse)
        if found.cluster is not None:
            found.warnings += found.cluster.refusals
        ended = database.stage(END, StudyEnded)
        found.final = _final(setup, found, database)
        if found.final is not None and found.final.warning is not None:
            found.warnings.append(found.final.warning)
        if database.stopped_at is not None:
            found.warnings.append(f"This is not all of the search: {database.stopped_at}")
        stopped_by = "interrupted" if ended is None else ended.stopped_by
        return make_result(setup, found, stopped_by=stopped_by, seconds=database.seconds())


def _final(setup: Setup, found: Findings, database: SearchDatabase) -> FinalOutcome | None:
    """The final fit, where it was made of the trial that is the best now: one that went on may have found a better."""
    best = best_trial(setup.objective, trial_results(found))
    outcome = database.stage(FINAL, FinalOutcome)
    if outcome is None or outcome.training is None or best is None:
        return outcome
    return outcome if outcome.training.seed == final_seed(setup.seed, best.number) else None
