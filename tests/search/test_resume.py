from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_recipes import blobs_recipe
from scripted_executor import ScriptedExecutor, make_job
from searches import search_outcome
from stored_searches import PLAN, decisions, stored_events, work_on

from probe.errors import DataError, OutputError, ProbeError, RecipeError, UsageError
from probe.recipe.schema import Recipe
from probe.records import RunMeta
from probe.search.checks import check_deterministic
from probe.search.jobs.jobs import Outcome, RungJob
from probe.search.records.search import DATABASE_FILE, BudgetLimits, TrialResult
from probe.search.resume import can_continue, check_same_recipe, recipe_changes, same_task, version_warning
from probe.search.samplers.registry import make_sampler
from probe.search.schedulers.fidelity import FidelitySchedule
from probe.search.storage.connection import LOCK_FILE
from probe.search.storage.database import SearchDatabase
from probe.search.storage.folder import run_lock
from probe.search.storage.schema import StudyEnded
from probe.search.stored_result import stored_result
from probe.search.study.events import Event
from probe.search.study.plan import StudyHooks, StudyPlan, new_state
from probe.search.study.snapshots import trial_result
from probe.search.study.study import Study
from probe.search.task_info import TaskInfo

pytestmark = pytest.mark.usefixtures("warm_workers")

RECIPE = blobs_recipe(
    budget={"trials": 3, "epochs": 20}, search={"sampler": "random", "scheduler": "none", "fidelity": {"max": 2}}
)
FACTS = TaskInfo(num_train=100, num_val=20, num_test=None, metrics=("accuracy",), optimizer="sgd", batch_size=16)


def changed(**sections: Any) -> Recipe:
    return Recipe.model_validate(RECIPE.model_dump(by_alias=True) | sections)


FIDELITIES = (
    FidelitySchedule(rungs=(1, 3, 9)),
    FidelitySchedule(rungs=(2, 4), num_folds=3),
    FidelitySchedule(unit="data", rungs=(100, 300, 1000), data_epochs=4),
    FidelitySchedule(unit="data", rungs=(250, 1000), data_epochs=3, num_folds=2),
)


class DriverGoneError(Exception):
    """The driver is gone."""


@settings(deadline=None, max_examples=20)
@given(
    stops=st.lists(st.integers(1, 40), max_size=5),
    interrupts=st.booleans(),
    is_stored=st.booleans(),
    sampler=st.sampled_from(["random", "tpe"]),
)
def test_a_search_that_is_stopped_anywhere_decides_as_one_that_is_not(
    stops: list[int], interrupts: bool, is_stored: bool, sampler: str
) -> None:
    stop = KeyboardInterrupt if interrupts else DriverGoneError
    assert _decided(stops, sampler, stop, is_stored) == _decided([], sampler, stop, is_stored)


@settings(deadline=None, max_examples=60)
@given(
    stops=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    interrupts=st.booleans(),
    is_stored=st.booleans(),
    fidelity=st.sampled_from(FIDELITIES),
    scheduler=st.sampled_from(["asha", "halving", "hyperband"]),
    ends=st.dictionaries(
        st.integers(0, 8),
        st.sampled_from(["oom", "host_oom", "diverged", "crashed", "timeout", "infeasible", "failed", "stops"]),
        max_size=5,
    ),
    at_epoch=st.integers(1, 4),
)
def test_stopped_or_not_every_outcome_and_every_fidelity_come_to_the_same(
    stops: list[int],
    interrupts: bool,
    is_stored: bool,
    fidelity: FidelitySchedule,
    scheduler: Any,
    ends: dict[int, Any],
    at_epoch: int,
) -> None:
    stop = KeyboardInterrupt if interrupts else DriverGoneError
    plan = replace(
        PLAN, fidelity=fidelity, rungs=fidelity.rungs, scheduler=scheduler, limits=BudgetLimits(trials=12, epochs=60.0)
    )

    def fault(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
        found = ends.get(job.number)
        return found if epoch == at_epoch and found != "stops" else None

    def executor() -> ScriptedExecutor:
        return ScriptedExecutor(
            fault=fault,
            max_parts=4,
            stops_after=lambda job, epoch: epoch == at_epoch and ends.get(job.number) == "stops",
        )

    whole = _decided([], "tpe", stop, is_stored, plan=plan, executor=executor)
    assert _decided(stops, "tpe", stop, is_stored, plan=plan, executor=executor) == whole


def _decided(
    stops: list[int],
    sampler: str,
    stop: type[BaseException],
    is_stored: bool,
    *,
    plan: StudyPlan = PLAN,
    executor: Callable[[], ScriptedExecutor] = ScriptedExecutor,
) -> tuple[list[object], list[TrialResult]]:
    """Decisions and trials of a search whose process ends after each so many events, before or after storing the next."""
    stored: list[Event] = []
    for number in [*stops, None]:
        left = number

        def sink(event: Event) -> None:
            nonlocal left
            if left == 0:
                left = None
                if is_stored:
                    stored.append(event)
                raise stop
            if left is not None:
                left -= 1
            stored.append(event)

        study = Study(
            plan,
            new_state(plan),
            sampler=make_sampler(sampler, plan.space, mode="max", seed=7),
            executor=executor(),
            make_job=make_job,
            hooks=StudyHooks(sink=sink),
        )
        study.replay(list(stored))
        try:
            if study.state.trials:
                study.resume(None)
            study.run()
        except (DriverGoneError, KeyboardInterrupt):
            continue
    again = new_state(plan)
    for event in stored:
        again.apply(event)
    assert again.trials == study.state.trials
    assert (again.spent_epochs, again.lost_epochs) == (study.state.spent_epochs, study.state.lost_epochs)
    assert study.state.promised_epochs == 0
    results = [replace(trial_result(study.state, trial), seconds=0.0) for trial in study.state.trials]
    return decisions(stored), results


def test_lost_epochs_are_counted_but_not_spent(tmp_path: Path) -> None:
    stored: list[Event] = []
    executor = ScriptedExecutor(num_slots=2, interrupt_at=5.0)
    plan = replace(PLAN, rungs=(9,), limits=BudgetLimits(epochs=36))

    def study(events: list[Event], executor: ScriptedExecutor) -> Study:
        made = Study(
            plan,
            new_state(plan),
            sampler=make_sampler("random", plan.space, mode="max", seed=7),
            executor=executor,
            make_job=make_job,
            hooks=StudyHooks(sink=stored.append),
        )
        made.replay(events)
        return made

    assert study([], executor).run() == "interrupted"
    again = study(list(stored), ScriptedExecutor(num_slots=2))
    assert again.state.spent_epochs == 8  # two trials had four epochs each when the fifth second came
    again.resume("interrupted")
    assert (again.state.spent_epochs, again.state.lost_epochs, again.state.promised_epochs) == (0, 8, 0)
    assert again.run() == "epochs"
    assert (again.state.spent_epochs, again.state.lost_epochs, len(again.state.trials)) == (36, 8, 4)


def test_a_killed_search_shows_what_an_interrupted_one_does() -> None:
    fidelity = FidelitySchedule(unit="data", rungs=(100, 1000), data_epochs=4)
    plan = replace(PLAN, fidelity=fidelity, rungs=fidelity.rungs, limits=BudgetLimits(trials=1))
    stored: list[Event] = []
    study = Study(
        plan,
        new_state(plan),
        sampler=make_sampler("random", plan.space, mode="max", seed=7),
        executor=ScriptedExecutor(interrupt_at=6.5),
        make_job=make_job,
        hooks=StudyHooks(sink=stored.append),
    )
    assert study.run() == "interrupted"
    interrupted = trial_result(study.state, study.state.trials[0])
    assert (interrupted.rungs, len(interrupted.reports), interrupted.lost_epochs) == ((100,), 4, 2)
    killed = new_state(plan)
    for event in stored:  # Ctrl-C writes no more than a kill
        killed.apply(event)
    assert trial_result(killed, killed.trials[0]) == interrupted


def test_a_search_that_failed_may_go_on_once_the_bug_is_gone() -> None:
    stored: list[Event] = []
    for fault in (lambda *_: "failed", lambda *_: None):
        study = Study(
            PLAN,
            new_state(PLAN),
            sampler=make_sampler("random", PLAN.space, mode="max", seed=7),
            executor=ScriptedExecutor(fault=fault),
            make_job=make_job,
            hooks=StudyHooks(sink=stored.append),
        )
        study.replay(list(stored))
        if stored:
            study.resume("failures")
        end = study.run()
    assert end != "failures"
    assert [trial.status for trial in study.state.trials[:3]] == ["failed"] * 3


def test_only_a_raised_budget_may_change() -> None:
    assert recipe_changes(RECIPE, RECIPE) == []
    assert recipe_changes(RECIPE, changed(budget={"trials": 30, "epochs": 20.0})) == []
    assert recipe_changes(RECIPE, changed(budget={"trials": 30})) == []  # no limit is the highest one
    assert recipe_changes(RECIPE, changed(budget={"trials": 2, "epochs": 20.0})) == ["budget.trials: 3 -> 2"]
    assert recipe_changes(RECIPE, changed(budget={"trials": 3, "epochs": 20.0, "time": "1m"})) == [
        'budget.time: (missing) -> "1m"'
    ]


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"space": {"lr": {"low": 0.01, "high": 2.0, "log": True}}}, "space.lr.high: 1.0 -> 2.0"),
        ({"search": {"seed": 4}}, "search.seed: 0 -> 4"),
        ({"start": [{"lr": 0.5}]}, "start[1].lr: (missing) -> 0.5"),
        ({"name": "other"}, 'name: "blobs" -> "other"'),
    ],
)
def test_what_changed_in_the_recipe_is_named(sections: dict[str, Any], named: str) -> None:
    with pytest.raises(RecipeError, match="recipe has changed") as raised:
        check_same_recipe(RECIPE, changed(**sections))
    assert f"  {named}" in raised.value.message.splitlines()


def test_the_order_of_the_space_counts() -> None:
    one, other = (
        blobs_recipe({name: {"low": 0.1, "high": 1.0} for name in names})
        for names in (("lr", "dropout"), ("dropout", "lr"))
    )
    assert recipe_changes(one, other) == ["the order in [space]: lr, dropout -> dropout, lr"]


def test_other_data_is_refused() -> None:
    assert same_task(FACTS, FACTS, may_be_edited=False) == FACTS
    with pytest.raises(DataError, match="training samples: 100 -> 101"):
        same_task(FACTS, replace(FACTS, num_train=101), may_be_edited=True)
    with pytest.raises(DataError, match="test samples: none -> 5"):
        same_task(FACTS, replace(FACTS, num_test=5), may_be_edited=True)


def test_other_versions_are_a_warning_or_refused_where_decisions_must_be_equal() -> None:
    meta = RunMeta(
        probe_version="1", python_version="3", torch_version="2", cuda_version=None, driver_version=None, platform="",
        device="cpu", num_threads=1, seed=0, argv=(), recipe_hash=None, started_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    assert version_warning(meta, meta, deterministic=True) is None
    newer = replace(meta, torch_version="3")
    assert "PyTorch 2 -> 3" in (version_warning(meta, newer, deterministic=False) or "")
    with pytest.raises(OutputError, match="PyTorch 2 -> 3"):
        version_warning(meta, newer, deterministic=True)


def test_a_search_goes_on_unless_it_is_over() -> None:
    limits = BudgetLimits(trials=3, time_seconds=60)
    over = StudyEnded(stopped_by="trials", limits=limits)
    assert can_continue(None, limits, seconds=5)
    assert not can_continue(None, limits, seconds=60)
    assert not can_continue(over, limits, seconds=5)
    assert can_continue(over, replace(limits, trials=4), seconds=5)
    assert can_continue(replace(over, stopped_by="interrupted"), limits, seconds=5)


def test_a_second_process_is_refused_by_the_number_of_the_first_until_that_dies(tmp_path: Path) -> None:
    script = "import sys, time; from pathlib import Path; from probe.search.storage.folder import run_lock\n"
    script += "with run_lock(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(OutputError, match=f"being run by process {holder.pid}") as raised:
            run_lock(tmp_path).__enter__()
        assert raised.value.exit_code == 6
        os.kill(holder.pid, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    with run_lock(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text() == str(os.getpid())
    assert not (tmp_path / LOCK_FILE).exists()


@pytest.mark.parametrize(
    ("recipe", "workers", "named"),
    [
        (changed(budget={"time": "5m"}), None, "budget.time"),
        (changed(search={"trial_time": "1m"}), None, "search.trial_time"),
        (changed(search={"constraints": {"step_ms": 5}}), None, "search.constraints.step_ms"),
        (RECIPE, 2, "--workers 2"),
    ],
)
def test_what_would_make_two_runs_differ_is_refused(recipe: Recipe, workers: int | None, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        check_deterministic(recipe, num_workers=workers)
    check_deterministic(RECIPE, num_workers=1)


def test_orphans_are_removed_and_needed_checkpoints_kept(tmp_path: Path) -> None:
    def stop_after(number: int) -> Callable[[], None]:
        def count() -> None:
            nonlocal number
            number -= 1
            if number == 0:
                raise DriverGoneError

        return count

    with pytest.raises(DriverGoneError):
        work_on(tmp_path, acknowledged=stop_after(80))
    folder = tmp_path / "checkpoints"
    needed = {path.name for path in folder.iterdir()}
    (folder / ".trial-00000-epoch-00001.pt.0123456789abcdef.tmp").write_bytes(b"half")
    (folder / "trial-09999-epoch-00003.pt").write_bytes(b"nobody's")
    (folder / "notes.txt").write_bytes(b"the user's")
    with pytest.raises(DriverGoneError):
        work_on(tmp_path, acknowledged=stop_after(2))
    assert {path.name for path in folder.iterdir()} <= needed | {"notes.txt"}
    assert (folder / "notes.txt").read_bytes() == b"the user's"
    work_on(tmp_path)
    (tmp_path / "whole").mkdir()
    work_on(tmp_path / "whole")
    assert decisions(stored_events(tmp_path)) == decisions(stored_events(tmp_path / "whole"))


def test_a_real_search_is_interrupted_refused_and_resumed(tmp_path: Path) -> None:
    recipe = blobs_recipe(
        budget={"trials": 7}, search={"sampler": "tpe", "fidelity": {"min": 1, "max": 3, "factor": 3}}
    )
    search: Callable[..., Any] = lambda recipe, **more: search_outcome(recipe, device="cpu", num_workers=1, **more)  # noqa: E731
    whole, _ = search(recipe)
    folder = tmp_path / "run"

    def interrupt(record: Any) -> None:
        if isinstance(record, TrialResult) and record.number == 3:
            raise KeyboardInterrupt

    partial, _ = search(recipe, folder=folder, observer=interrupt)
    assert partial.stopped_by == "interrupted"
    stored = stored_result(folder)
    assert replace(stored, spent=partial.spent) == partial

    for refused, more, message in [
        (blobs_recipe(budget={"trials": 2}), {}, "budget.trials: 7 -> 2"),
        (recipe, {"deterministic": True}, "without --deterministic"),
    ]:
        with pytest.raises(ProbeError, match=message):
            search(refused, folder=folder, resume=True, **more)
    with pytest.raises(OutputError, match="already contains a search"):
        search(recipe, folder=folder)
    with pytest.raises(OutputError, match="nothing to resume"):
        search(recipe, folder=tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()

    for path in (folder / "checkpoints").glob("trial-*.pt"):  # promoted ones are trained again from their start
        path.write_bytes(path.read_bytes()[:100])
    result, error = search(recipe, folder=folder, resume=True)
    assert error is None
    assert [_values(trial) for trial in result.trials] == [_values(trial) for trial in whole.trials]
    assert any("were trained again" in (trial.message or "") for trial in result.trials)
    assert (result.num_resumes, result.test) == (1, whole.test)

    again, _ = search(blobs_recipe(budget={"trials": 9}, search=recipe.search.model_dump()), folder=folder, resume=True)
    assert len(again.trials) == 9
    assert [trial.params for trial in again.trials[:7]] == [trial.params for trial in whole.trials]
    assert sorted(file.name for file in folder.iterdir()) == [DATABASE_FILE, "winner.safetensors"]

    connection = sqlite3.connect(folder / DATABASE_FILE)
    connection.execute("UPDATE stages SET record = json_set(record, '$.num_train', 7) WHERE name = 'load'")
    connection.commit()
    connection.close()
    with pytest.raises(DataError, match="training samples: 7 -> 128"):
        search(blobs_recipe(budget={"trials": 20}, search=recipe.search.model_dump()), folder=folder, resume=True)
    with SearchDatabase.open(folder / DATABASE_FILE, to_write=False) as database:  # a refused process leaves no trace
        assert "trials = 9" in database.facts()["recipe"]
        assert len(database.sessions()) == 3


def test_a_search_that_went_on_and_was_killed_is_not_over_and_has_no_old_winner(tmp_path: Path) -> None:
    def kill(record: Any) -> None:
        if isinstance(record, TrialResult) and record.number == 3:
            raise DriverGoneError

    # Only the fourth trial learns anything.
    start = [{"lr": 1e-6}, {"lr": 1e-6}, {"lr": 1e-6}, {"lr": 0.5}]
    recipes = [
        blobs_recipe(
            {"lr": {"low": 1e-6, "high": 1.0, "log": True}},
            budget={"trials": trials},
            search={"sampler": "random", "scheduler": "none", "fidelity": {"max": 3}},
            start=start,
        )
        for trials in (1, 9)
    ]
    folder = tmp_path / "run"
    before, _ = search_outcome(recipes[0], device="cpu", num_workers=1, folder=folder)
    assert before.final is not None
    with pytest.raises(DriverGoneError):
        search_outcome(recipes[1], device="cpu", num_workers=1, folder=folder, resume=True, observer=kill)
    stored = stored_result(folder)
    assert stored.best is not None
    assert (stored.stopped_by, stored.best.number) == ("interrupted", 3)
    assert (stored.final, stored.test) == (None, None)


def _values(trial: TrialResult) -> tuple[object, ...]:
    curve = [(report.epoch, report.train_loss, report.val_loss, report.metrics) for report in trial.reports]
    return trial.number, trial.params, trial.status, trial.value, trial.epochs, curve
