"""The curve of a search from its stored events: every epoch at the time when it was trained."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

from probe.recipe.load import parse_recipe
from probe.recipe.schema import Recipe
from probe.search.compare.compare import improving
from probe.search.records.comparison import Incumbent
from probe.search.records.objective import Objective, reduced_value
from probe.search.records.search import SearchResult
from probe.search.schedulers.fidelity import make_fidelity_schedule
from probe.search.schedulers.registry import SchedulerChoice, choose_scheduler, make_scheduler
from probe.search.storage.database import SearchDatabase
from probe.search.storage.schema import SCHEDULER
from probe.search.study.events import EpochReported, Event, TrialEnded, TrialSuggested
from probe.search.study.state import SearchState


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
    given = recipe.task.objective
    objective = Objective(metric=given.metric, mode=given.mode, reduce=given.reduce)
    fidelity = make_fidelity_schedule(recipe, choice.rungs)
    scheduler = make_scheduler(
        choice.name, choice.rungs, factor=choice.factor, mode=objective.mode, costs=fidelity.costs
    )
    state = SearchState(scheduler=scheduler, objective=objective, fidelity=fidelity)
    valued = {trial.number for trial in result.trials if trial.value is not None}
    each_epoch = given.reduce == "best" and fidelity.continues_from_checkpoint
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
