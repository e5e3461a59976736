"""`probe.find_hyperparameters`: a recipe's search from its first probe to the test score."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from probe.device.select import DeviceSpec, parse_device
from probe.errors import NothingFitsError, ProbeError, UserCodeError
from probe.recipe.schema import Recipe
from probe.search.analysis.reasons import reason
from probe.search.backends import find_backend
from probe.search.checks import check_constraints, check_grid, check_names, check_values
from probe.search.findings import make_setup
from probe.search.flow import Search
from probe.search.records.search import SearchResult
from probe.search.session import SearchRequest, open_session
from probe.task import Task
from probe.tasks.given import TaskFunction, given_source, pickled_source
from probe.tasks.source import recipe_source, recipe_with_task, task_seed

Observer = Callable[[Any], None]
WEIGHTS_FILE = "winner.safetensors"
"""In the run's folder, after the final fit."""


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
    argv: Sequence[str] = (),
) -> SearchResult:
    """Probe batch size and learning rate, search the rest within the budget, train the winner again, score it on test.

    Args:
        recipe: a recipe, or the path of its TOML file; `overrides` like `budget.trials=5` are for the latter.
        task: what is trained, in place of what the recipe's [task] names, which then needs no target: a Task, or a function
            that returns one and takes the recipe's hyperparameters as keywords. It may be defined in a notebook.
        observer: called with SearchProgress, Attempt, BatchResult, LrResult and TrialResult records as they come.
        device: `cuda` and `auto` mean all GPUs that are visible, `cuda:N` that one.
        num_workers: trials side by side; one a GPU, else one for each core, at most four. More on a GPU run as far as the
            memory that each is predicted to take allows it.
        ray: `auto`, `HOST:PORT` or `local:N`: search on a Ray cluster (`pip install 'torch-probe[ray]'`), on all of its nodes.
        storage: a folder for checkpoints that every node sees; None: the run's own where all see it, else they travel with
            the jobs.
        folder: of the run: every decision and report is a row of the search.sqlite in it before it takes effect, checkpoints
            lie there until the search is over. None: nothing is left but the result.
        resume: go on with the search in `folder`, however it was stopped, from where it was.
        deterministic: one worker, fixed threads, nothing that depends on a clock: two runs decide alike, and so does one that
            was stopped and resumed.

        allow_code_changes: resume although the task's source files were edited since the search was started. Other data, or
            a model of another size, are refused all the same.

    Ctrl-C ends the search with what it has: `stopped_by` is then "interrupted".

    Raises:
        RecipeError, TaskError, DeviceError, UsageError: before anything is spent.
        DeviceError: of a cluster also: no Ray, no answer within ten seconds, a node with another version of probe.
        OutputError: the folder's search is another process's, or cannot be read or written; what was written stays.
        UserCodeError: the task's own code fails with every configuration. `run_search` keeps what was measured.
        NothingFitsError: no trial came to a value.
    """
    result, error = run_search(
        recipe,
        task=task,
        observer=observer,
        device=device,
        num_workers=num_workers,
        data_dir=data_dir,
        overrides=overrides,
        ray=ray,
        storage=storage,
        folder=folder,
        resume=resume,
        deterministic=deterministic,
        allow_code_changes=allow_code_changes,
        argv=argv,
    )
    if error is not None:
        raise error
    return result


def run_search(
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
    argv: Sequence[str] = (),
) -> tuple[SearchResult, ProbeError | None]:
    """As `find_hyperparameters`, but an error that comes after the first measurement comes beside the result, to be raised
    once that is safe."""
    started = time.monotonic()
    found = recipe_with_task(recipe, task, overrides=overrides)
    data_dir = Path(data_dir).absolute()  # paths hold though the task's code changes the current folder
    folder, storage = (None if path is None else Path(path).absolute() for path in (folder, storage))
    source = (
        recipe_source(found, data_dir=data_dir)
        if task is None
        else pickled_source(given_source(task, seed=task_seed(found)))
    )
    if not resume:  # a search that goes on was checked when it was begun, and these take PyTorch's import
        with contextlib.chdir("."):  # where the workers start
            check_names(found, source)
        check_values(found)
    check_grid(found)
    spec = device if isinstance(device, DeviceSpec) else parse_device(device)
    with find_backend(ray, device=spec, num_workers=num_workers, deterministic=deterministic) as host:
        check_constraints(found, host.device)
        request = SearchRequest(
            recipe=found,
            device=host.device,
            data_dir=data_dir,
            num_workers=host.num_workers,
            num_threads=host.num_threads,
            num_gpus=host.num_gpus,
            storage=storage,
            deterministic=deterministic,
            allow_code_changes=allow_code_changes,
            argv=argv,
        )
        with open_session(folder, request, resume=resume) as session, host.open(session) as executor:
            search = Search(
                make_setup(
                    found,
                    source,
                    device=host.device,
                    num_workers=session.begun.num_workers,
                    scheduler=session.scheduler,
                ),
                session=session,
                executor=executor,
                weights=None if folder is None else folder / WEIGHTS_FILE,
                observer=observer,
                started=started,
            )
            result, error = search.run()
            session.completed = error is None and result.stopped_by not in ("interrupted", "failures")
    return result, error or outcome_error(result)


def outcome_error(result: SearchResult) -> ProbeError | None:
    """What the user has to be told about a search that came to nothing; None for one that has a winner or was interrupted.

    UserCodeError where trials failed in the task's own code and in no other way, with the last one's traceback; else
    NothingFitsError.
    """
    failed = [trial for trial in result.trials if trial.status == "failed"]
    only_failed = len(failed) == len(result.trials) and result.stopped_by != "interrupted"
    if failed and (result.stopped_by == "failures" or only_failed):
        traceback = failed[-1].message or "no message"
        return UserCodeError(
            f"{len(failed)} of {len(result.trials)} trials failed and none succeeded, the last one "
            f"(trial {failed[-1].number}) with: {reason(traceback)}",
            traceback=traceback,
        )
    if result.best is None and result.stopped_by != "interrupted":
        counts = Counter(trial.status for trial in result.trials)
        listed = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none was started"
        return NothingFitsError(
            f"No trial came to a value: {listed}.",
            hint="Raise [budget], lower the largest batch size or learning rate, or read the trials' messages in the report.",
        )
    return None
