"""`probe.find_hyperparameters`: a search from its first probe to the test score."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from probe.device.select import DeviceSpec, parse_device
from probe.errors import NothingFitsError, ProbeError, UsageError, UserCodeError
from probe.limits import MAX_WORKERS, Whole
from probe.recipe.schema import Recipe
from probe.search.analysis.messages import reason
from probe.search.backends import Backend, find_backend
from probe.search.checks import check_constraints, check_grid, check_names, check_recipe
from probe.search.flow import ENDED_EARLY, Search
from probe.search.jobs.checkpoint_files import WEIGHTS_FILE
from probe.search.records.search import SearchResult
from probe.search.session import SearchRequest, open_session
from probe.search.settings import make_settings
from probe.task import Task
from probe.tasks.given import TaskFunction, given_source, pickled_source
from probe.tasks.source import TaskSource, recipe_source, recipe_with_task, task_seed

Observer = Callable[[Any], None]
WORKERS = Whole(1, MAX_WORKERS)


def find_hyperparameters(
    recipe: Recipe | Path | str,
    *,
    task: Task | TaskFunction | None = None,
    observer: Observer | None = None,
    device: str | DeviceSpec = "auto",
    num_workers: int | None = None,
    data_dir: Path | str = "data",
    overrides: Sequence[str] = (),
    ray: str | None = None,
    storage: Path | None = None,
    folder: Path | None = None,
    resume: bool = False,
    deterministic: bool = False,
    allow_code_changes: bool = False,
    trust: bool = True,
    argv: Sequence[str] = (),
) -> SearchResult:
    """Probe batch size and learning rate, search the rest within the budget, then train and test the winner.

    Args:
        recipe: a recipe, or the path of its TOML file.
        task: the task to train, instead of the one in the recipe's [task]: a Task, or a function that returns one and
            takes the recipe's hyperparameters as keywords. It may be defined in a notebook.
        observer: called with SearchProgress, Attempt, BatchResult, LrResult and TrialResult records as they are made.
        device: `auto` or `cuda` for all visible GPUs, `cuda:N` for one of them, or `cpu`.
        num_workers: number of trials side by side. By default one per GPU; on the CPU one per core, at most four. More
            than one per GPU run side by side as far as their predicted memory allows.
        data_dir: folder of downloaded data sets.
        overrides: changes of a recipe file, like `budget.trials=5`.
        ray: `auto`, `HOST:PORT` or `local:N` to search on all nodes of a Ray cluster (`pip install
            'torch-probe[ray]'`).
        storage: a folder for checkpoints that every node sees; required if the nodes are several machines. By default the
            run's own.
        folder: folder of the run, with its database (every decision is stored before it takes effect) and, until the
            search has ended, its checkpoints. By default nothing is stored.
        resume: resume the search in `folder` where it was stopped or killed.
        deterministic: use one worker, fixed threads and no decision that depends on a clock, so that two runs make the
            same decisions, and so does a resumed run.
        allow_code_changes: resume although the task's source files were edited since the search was started. Other
            data, or a model of another size, are refused in any case.
        trust: resume a search that this user has not started, although that imports the target that its recipe names. The
            command line sets it only with --trust; in Python the caller has chosen the recipe.
        argv: the command line, stored in the result.

    Returns:
        The result. Ctrl-C ends the search early, with `stopped_by` "interrupted".

    If an error occurs after the task was loaded, its attribute `result` is the partial SearchResult.

    Raises:
        RecipeError, TaskError, DeviceError, UsageError: before anything is spent. DeviceError also if Ray is not
            installed, if the cluster does not answer within ten seconds, or if a node has another version of probe.
            UsageError also if the cluster has several machines and no `storage` is given.
        OutputError: another process runs the search in the folder, or its files cannot be read or written.
        UserCodeError: the task's own code fails with every configuration.
        NothingFitsError: no trial has a value.
    """
    started = time.monotonic()
    recipe = recipe_with_task(recipe, task, overrides=overrides)
    # Absolute paths stay valid if the task's code changes the current folder.
    data_dir = Path(data_dir).absolute()
    folder, storage = (None if path is None else Path(path).absolute() for path in (folder, storage))
    source = _source(recipe, task, data_dir)
    _check(recipe, source, is_new=not resume)
    if num_workers is not None and not WORKERS.allows(num_workers):
        raise UsageError(f"The number of workers must be {WORKERS}, not {num_workers!r}.")
    spec = device if isinstance(device, DeviceSpec) else parse_device(device)
    with find_backend(ray, device=spec, num_workers=num_workers, deterministic=deterministic) as backend:
        check_constraints(recipe, backend.device)
        request = SearchRequest(
            recipe=recipe,
            device=backend.device,
            data_dir=data_dir,
            folder=folder,
            resume=resume,
            num_workers=backend.num_workers,
            num_threads=backend.num_threads,
            num_gpus=backend.num_gpus,
            storage=storage,
            deterministic=deterministic,
            allow_code_changes=allow_code_changes,
            trust=trust,
            argv=argv,
        )
        result = _search(request, source, backend, observer, started)
    error = outcome_error(result)
    if error is not None:
        error.result = result
        raise error
    return result


def _source(recipe: Recipe, task: Task | TaskFunction | None, data_dir: Path) -> TaskSource:
    if task is None:
        return recipe_source(recipe, data_dir=data_dir)
    return pickled_source(given_source(task, seed=task_seed(recipe)))


def _check(recipe: Recipe, source: TaskSource, *, is_new: bool) -> None:
    """Check the recipe. A resumed one was checked before, and these checks import PyTorch."""
    if is_new:
        check_recipe(recipe)
        if recipe.task.target is not None:
            with contextlib.chdir("."):  # the task's code may change the folder in which the workers start
                check_names(recipe, source)
    check_grid(recipe)


def _search(
    request: SearchRequest, source: TaskSource, backend: Backend, observer: Observer | None, started: float
) -> SearchResult:
    """Open the session and run the search. Raises ProbeError with the partial result."""
    result: SearchResult | None = None
    try:
        with open_session(request) as session, backend.open(session) as executor:
            settings = make_settings(
                request.recipe,
                source,
                device=request.device,
                num_workers=session.start.num_workers,
                scheduler=session.scheduler,
            )
            search = Search(
                settings,
                session=session,
                executor=executor,
                weights=None if request.folder is None else request.folder / WEIGHTS_FILE,
                observer=observer,
                started=started,
            )
            result = search.run()
            session.completed = result.stopped_by not in ENDED_EARLY
    except KeyboardInterrupt:
        if result is None:
            raise
        # Pressed while the workers were ended: the result must not be lost.
    return result


def outcome_error(result: SearchResult) -> ProbeError | None:
    """Return the error for a search without a winner; None if it has one or was interrupted. It is a UserCodeError,
    with the last traceback, if trials failed in the task's own code only."""
    failed = [trial for trial in result.trials if trial.status == "failed"]
    only_failed = len(failed) == len(result.trials) and result.stopped_by != "interrupted"
    if failed and (result.stopped_by == "failures" or only_failed):
        traceback = failed[-1].message or "no message"
        return UserCodeError(
            f"{len(failed)} of {len(result.trials)} trials failed and none succeeded. The last one "
            f"(trial {failed[-1].number}) failed with: {reason(traceback)}",
            traceback=traceback,
        )
    if result.best is None and result.stopped_by != "interrupted":
        counts = Counter(trial.status for trial in result.trials)
        listed = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none was started"
        return NothingFitsError(
            f"No trial has a value: {listed}.",
            hint="Raise [budget], lower the largest batch size or learning rate, or read the trials' messages in the report.",
        )
    return None
