"""`probe.find_hyperparameters`: a recipe's search from its first probe to the test score."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from probe.device.select import DeviceSpec, parse_device
from probe.errors import NothingFitsError, ProbeError, UserCodeError
from probe.recipe.load import load_recipe
from probe.recipe.schema import Recipe
from probe.search.checks import check_constraints, check_grid, check_names, check_values
from probe.search.findings import make_setup
from probe.search.flow import Search
from probe.search.hosts import find_host
from probe.search.reasons import reason
from probe.search.records import SearchResult
from probe.search.session import SearchRequest, open_session
from probe.search.study import MAX_FAILURES_IN_A_ROW
from probe.zoo.source import recipe_source

Observer = Callable[[Any], None]
WEIGHTS_FILE = "winner.safetensors"
"""In the run's folder, after the final fit."""


def find_hyperparameters(
    recipe: Recipe | Path | str,
    *,
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
    argv: Sequence[str] = (),
) -> SearchResult:
    """Probe batch size and learning rate, search the rest within the budget, train the winner again, score it on test.

    Args:
        recipe: a recipe, or the path of its TOML file; `overrides` like `budget.trials=5` are for the latter.
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

    Ctrl-C ends the search with what it has: `stopped_by` is then "interrupted".

    Raises:
        RecipeError, TaskError, DeviceError, UsageError: before anything is spent.
        DeviceError: of a cluster also: no Ray, no answer within ten seconds, a node with another version of probe.
        OutputError: the folder's search is another process's, or cannot be read or written; what was written stays.
        UserCodeError: three trials in a row failed in the task's own code. `run_search` keeps
            what was measured.
        NothingFitsError: no trial came to a value.
    """
    result, error = run_search(
        recipe,
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
        argv=argv,
    )
    if error is not None:
        raise error
    return result


def run_search(
    recipe: Recipe | Path | str,
    *,
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
    argv: Sequence[str] = (),
) -> tuple[SearchResult, ProbeError | None]:
    """As `find_hyperparameters`, but an error that comes after the first measurement comes beside the result, to be raised
    once that is safe."""
    started = time.monotonic()
    found = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides=overrides)
    source = recipe_source(found, data_dir=Path(data_dir))
    if not resume:  # a search that goes on was checked when it was begun, and these take PyTorch's import
        check_names(found, source)
        check_values(found)
    check_grid(found)
    spec = device if isinstance(device, DeviceSpec) else parse_device(device)
    with find_host(ray, device=spec, num_workers=num_workers, deterministic=deterministic) as host:
        check_constraints(found, host.device)
        request = SearchRequest(
            recipe=found,
            device=host.device,
            data_dir=Path(data_dir),
            num_workers=host.num_workers,
            num_threads=host.num_threads,
            num_gpus=host.num_gpus,
            storage=storage,
            deterministic=deterministic,
            argv=argv,
        )
        with open_session(folder, request, resume=resume) as session, host.open(session) as executor:
            search = Search(
                make_setup(found, source, device=host.device, num_workers=session.begun.num_workers),
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

    UserCodeError where trials kept failing in the task's own code, with the last one's traceback; else NothingFitsError.
    """
    failed = [trial for trial in result.trials if trial.status == "failed"]
    if result.stopped_by == "failures" and failed:
        traceback = failed[-1].message or "no message"
        return UserCodeError(
            f"{MAX_FAILURES_IN_A_ROW} trials in a row failed, the last one (trial {failed[-1].number}) with: "
            f"{reason(traceback)}",
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
