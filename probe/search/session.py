"""One process's work on a search: its lock, its database and its checkpoints, for a new search and a resumed one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from probe.device.environment import collect_meta
from probe.device.select import DeviceSpec
from probe.errors import OutputError, UsageError
from probe.recipe.dump import dump_recipe, recipe_hash
from probe.recipe.schema import Recipe
from probe.records import RunMeta, RunOrigin
from probe.search.checks import check_deterministic
from probe.search.executors.slots import default_slots, threads_per_slot
from probe.search.records.cluster import ClusterUse
from probe.search.records.search import DATABASE_FILE
from probe.search.resume import check_same_recipe, same_task, version_warning
from probe.search.schedulers.registry import SchedulerChoice
from probe.search.storage.connection import IN_MEMORY, is_unstarted, is_unused, remove_database
from probe.search.storage.database import SearchDatabase
from probe.search.storage.folder import CheckpointFolder, folder_of_checkpoints, new_name_in_storage, run_lock
from probe.search.storage.own_runs import check_own, new_run_id, remember
from probe.search.storage.schema import CLUSTER, END, LOAD, SCHEDULER, SearchStart, StudyEnded
from probe.search.stored_result import check_stored, stored_recipe, stored_start
from probe.search.task_info import TaskInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """The options of a search: what this process was asked to do."""

    recipe: Recipe
    device: DeviceSpec
    data_dir: Path
    folder: Path | None = None
    """Folder of the run; None for a search that stores nothing."""
    resume: bool = False
    num_workers: int | None = None
    num_threads: int | None = None
    """PyTorch's threads in each worker; None to divide this machine's cores."""
    storage: Path | None = None
    """Folder for checkpoints that other machines see; None for the run's own, or the one the search started with."""
    num_gpus: int = 1
    deterministic: bool = False
    allow_code_changes: bool = False
    trust: bool = True
    """Whether to resume a search that this user has not started, although that runs the code that its recipe names."""
    argv: Sequence[str] = ()


@dataclass(slots=True, kw_only=True)
class SearchSession:
    """An open search: its stored state, and whether this process may change it."""

    database: SearchDatabase
    checkpoint_folder: CheckpointFolder
    storage: Path | None
    """Shared folder as the user named it; the checkpoints are in a subfolder of it."""
    start: SearchStart
    """How the search was started, with the number of workers of this session."""
    num_resumes: int = 0
    warnings: tuple[str, ...] = ()
    completed: bool = False
    """Set by the caller if no checkpoint is needed any more."""
    is_accepted: bool = False
    """Whether results of this process may be stored."""
    pending: tuple[RunMeta, Recipe] | None = None
    """Metadata and recipe of a resuming process, until `accept` stores them."""
    allow_code_changes: bool = False

    @property
    def checkpoints(self) -> Path:
        return self.checkpoint_folder.path

    @property
    def scheduler(self) -> SchedulerChoice | None:
        """The scheduler that the search started with; None for a new search."""
        return self.database.stage(SCHEDULER, SchedulerChoice)

    def recognized(self, task: TaskInfo) -> TaskInfo:
        """Return the task with the files edited since the search started. Raises DataError for another task."""
        before = self.database.stage(LOAD, TaskInfo)
        if before is None:
            return task
        ended = self.database.stage(END, StudyEnded)
        failed = ended is not None and ended.stopped_by == "failures"
        # After failures, the user has seen the traceback and fixed the code.
        return same_task(before, task, may_be_edited=self.allow_code_changes or failed)

    def accept(self) -> None:
        """Record that this process resumes the search, and with which budget. Called once the task is known to be the
        same, so that a refused process leaves the file unchanged."""
        self.is_accepted = True
        if self.pending is None:
            return
        now, recipe = self.pending
        if now.run_id is not None:
            remember(now.run_id)
        self.database.add_session(now, self.database.seconds())
        self.database.change("recipe", dump_recipe(recipe))
        self.database.change("recipe_hash", recipe_hash(recipe))
        self.database.change("storage", "" if self.storage is None else str(self.storage.absolute()))
        self.pending = None

    def note_cluster(self, use: ClusterUse | None, seconds: float) -> None:
        """Record where this process runs its jobs, once it is accepted, replacing the record of an earlier session."""
        if not self.is_accepted:
            return
        if use is None:
            self.database.drop(CLUSTER)
        else:
            self.database.save(CLUSTER, use, seconds)


@contextmanager
def open_session(request: SearchRequest) -> Iterator[SearchSession]:
    """Start a search, or resume the one in the request's folder.

    Without a folder, checkpoints go to a temporary folder and the database stays in memory. A search that ends before
    its task is loaded leaves no file. A search that is not `completed` keeps its checkpoints. Raises OutputError if the
    run is locked or unreadable, RecipeError if more than a raised budget changed, UsageError for other settings.
    """
    folder = request.folder
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="probe-search-", ignore_cleanup_errors=True) as name:
            session = _start(IN_MEMORY, Path(name), request)
            try:
                session.checkpoint_folder.create()
                yield session
            finally:
                session.checkpoint_folder.remove()
        return
    path = folder / DATABASE_FILE
    is_new = not request.resume or is_unused(folder)
    if request.resume and not path.is_file():
        raise OutputError(
            f"{folder} has no {DATABASE_FILE}, so there is nothing to resume.",
            hint="Give the folder of a search with --out, or start a new search without --resume.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with run_lock(folder):
        session = _start(path, folder, request) if is_new else _resume(path, request)
        try:
            session.checkpoint_folder.create()
            yield session
        finally:
            is_empty = is_new and not session.database.stage_names()
            session.database.close()
            if is_empty:
                remove_database(path)
            if is_empty or session.completed:
                session.checkpoint_folder.remove()


def _start(path: Path, folder: Path, request: SearchRequest) -> SearchSession:
    if request.deterministic:
        check_deterministic(request.recipe, num_workers=request.num_workers)
    if path != IN_MEMORY and path.exists():
        if not is_unstarted(path):
            raise OutputError(
                f"{path.parent} already contains a search.", hint="Resume it with --resume, or use another folder."
            )
        remove_database(path)
    num_workers = 1 if request.deterministic else _num_workers(request)
    run_id = None if path == IN_MEMORY else new_run_id()
    meta = _meta(request, run_id, num_threads=request.num_threads or threads_per_slot(num_workers))
    start = SearchStart(
        recipe=dump_recipe(request.recipe),
        device=str(request.device),
        data_dir=str(request.data_dir),
        num_workers=num_workers,
        deterministic=request.deterministic,
        meta=meta,
    )
    rows = {
        "name": request.recipe.name,
        "recipe": start.recipe,
        "recipe_hash": recipe_hash(request.recipe),
        "device": start.device,
        "data_dir": start.data_dir,
        "num_workers": str(num_workers),
        "deterministic": "yes" if start.deterministic else "no",
        "probe_version": meta.probe_version,
        "storage": "" if request.storage is None else str(request.storage.absolute()),
        "name_in_storage": new_name_in_storage(folder),
    }
    database = SearchDatabase.create(path, rows, meta)
    if run_id is not None:
        remember(run_id)
    checkpoints = folder_of_checkpoints(folder, request.storage, rows, is_given=True)
    return SearchSession(database=database, checkpoint_folder=checkpoints, storage=request.storage, start=start)


def _resume(path: Path, request: SearchRequest) -> SearchSession:
    database = SearchDatabase.open(path, to_write=True)
    try:
        start = stored_start(database)
        _check_same_settings(start, request, database)
        if not request.trust and request.recipe.task.target is not None:
            check_own(start.meta.run_id, request.recipe.task.target, asked_for=f"Resuming {path.parent}")
        if start.deterministic:
            num_workers, num_threads = 1, start.meta.num_threads
        else:
            num_workers = _num_workers(request)
            num_threads = request.num_threads or threads_per_slot(num_workers)
        rows = database.facts()
        storage = request.storage or (Path(rows["storage"]) if rows.get("storage") else None)
        checkpoints = folder_of_checkpoints(path.parent, storage, rows, is_given=request.storage is not None)
        check_stored(database, start)
        now = _meta(request, start.meta.run_id, num_threads=num_threads)
        warning = version_warning(start.meta, now, deterministic=start.deterministic)
        num_resumes = len(database.sessions())
    except BaseException:
        database.close()
        raise
    return SearchSession(
        database=database,
        checkpoint_folder=checkpoints,
        storage=storage,
        start=replace(start, num_workers=num_workers, meta=replace(start.meta, num_threads=num_threads)),
        num_resumes=num_resumes,
        warnings=tuple(filter(None, (warning, database.log_warning))),
        pending=(now, request.recipe),
        allow_code_changes=request.allow_code_changes,
    )


def _num_workers(request: SearchRequest) -> int:
    return request.num_workers or default_slots(request.device, request.num_gpus)


def _check_same_settings(start: SearchStart, request: SearchRequest, database: SearchDatabase) -> None:
    check_same_recipe(stored_recipe(start, database), request.recipe)
    if start.device != str(request.device):
        raise UsageError(
            f"This search was started on {start.device}, so it cannot be resumed on {request.device}.",
            hint=f"Times and memory would not be comparable. Resume with --device {start.device}",
        )
    if start.deterministic:
        check_deterministic(request.recipe, num_workers=request.num_workers)
    elif request.deterministic:
        raise UsageError(
            "This search was started without --deterministic, so it cannot be resumed with it.",
            hint="Remove --deterministic.",
        )


def _meta(request: SearchRequest, run_id: str | None, *, num_threads: int) -> RunMeta:
    """Metadata of this session. `num_threads` are those of the workers, which do all the work."""
    return collect_meta(
        device=str(request.device),
        seed=request.recipe.search.seed,
        origin=RunOrigin(argv=tuple(request.argv), recipe_hash=recipe_hash(request.recipe), run_id=run_id),
        num_threads=num_threads,
    )
