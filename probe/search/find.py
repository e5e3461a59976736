"""`probe.find_hyperparameters`: a recipe's search from its first probe to the test score."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from probe.device.environment import collect_meta
from probe.device.select import DeviceSpec, parse_device, resolve_device
from probe.errors import NothingFitsError, ProbeError, UserCodeError
from probe.recipe.dump import recipe_hash
from probe.recipe.load import load_recipe
from probe.recipe.schema import Recipe
from probe.search.checks import check_constraints, check_grid, check_names, check_values
from probe.search.executors import LocalExecutor, default_slots, threads_per_slot
from probe.search.findings import make_setup
from probe.search.flow import Search
from probe.search.records import SearchResult
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
    folder: Path | None = None,
    argv: Sequence[str] = (),
) -> SearchResult:
    """Probe batch size and learning rate, search the rest within the budget, train the winner again, score it on test.

    Args:
        recipe: a recipe, or the path of its TOML file; `overrides` like `budget.trials=5` are for the latter.
        observer: called with SearchProgress, Attempt, BatchResult, LrResult and TrialResult records as they come.
        num_workers: trials side by side; one on a GPU, else one for each core, at most four. More on a GPU run as far as the
            memory that each is predicted to take allows it.
        folder: where checkpoints are kept while the search runs; a temporary folder by default.

    Ctrl-C ends the search with what it has: `stopped_by` is then "interrupted".

    Raises:
        RecipeError, TaskError, DeviceError, UsageError: before anything is spent.
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
        folder=folder,
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
    folder: Path | None = None,
    argv: Sequence[str] = (),
) -> tuple[SearchResult, ProbeError | None]:
    """As `find_hyperparameters`, but an error that comes after the first measurement comes beside the result, to be raised
    once that is safe."""
    started = time.monotonic()
    found = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides=overrides)
    source = recipe_source(found, data_dir=Path(data_dir))
    check_names(found, source)
    check_values(found)
    check_grid(found)
    spec = device if isinstance(device, DeviceSpec) else parse_device(device)
    spec = resolve_device(spec, measuring_memory=False)
    check_constraints(found, spec)
    num_slots = num_workers or default_slots(spec.kind)
    setup = make_setup(found, source, device=spec, num_workers=num_slots)
    num_threads = threads_per_slot(num_slots)
    meta = collect_meta(device=str(spec), seed=found.search.seed, argv=argv, recipe_hash=recipe_hash(found))
    meta = replace(meta, num_threads=num_threads)  # the workers', who do all the work
    with (
        _checkpoint_folder(folder) as checkpoints,
        LocalExecutor(num_slots, num_threads=num_threads) as executor,
    ):
        search = Search(
            setup,
            meta=meta,
            executor=executor,
            checkpoints=checkpoints,
            weights=None if folder is None else folder / WEIGHTS_FILE,
            observer=observer,
            started=started,
        )
        result, error = search.run()
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
            f"{traceback.strip().splitlines()[-1]}",
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


@contextmanager
def _checkpoint_folder(folder: Path | None) -> Iterator[Path]:
    """`folder`/checkpoints, or one in the system's temporary folder; gone afterwards."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="probe-search-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    path = folder / "checkpoints"
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
