"""One process's work on a search: its lock, its file and its checkpoints, for a new search and for one that goes on."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from probe.device.environment import collect_meta
from probe.device.select import DeviceSpec
from probe.errors import OutputError, UsageError
from probe.recipe.dump import dump_recipe, recipe_hash
from probe.recipe.load import parse_recipe
from probe.recipe.schema import Recipe
from probe.records import RunMeta, RunOrigin
from probe.search.deterministic import check_deterministic
from probe.search.executors.local import default_slots, threads_per_slot
from probe.search.records.cluster import ClusterUse
from probe.search.records.search import DATABASE_FILE
from probe.search.resume import check_same_recipe, same_task, version_warning
from probe.search.schedulers.auto_scheduler import SchedulerChoice
from probe.search.storage.database import IN_MEMORY, SearchDatabase
from probe.search.storage.lock import RunLock
from probe.search.storage.stages import CLUSTER, END, LADDER, LOAD, Begun, StudyEnded
from probe.search.task_info import TaskInfo

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """What a process was asked to search."""

    recipe: Recipe
    device: DeviceSpec
    data_dir: Path
    num_workers: int | None = None
    num_threads: int | None = None
    """PyTorch's in each worker; None: this machine's cores, divided."""
    storage: Path | None = None
    """A folder for checkpoints that other machines see too; None: the run's own, or the one that the search was begun with."""
    num_gpus: int = 1
    """That the trials may be spread over."""
    deterministic: bool = False
    allow_code_changes: bool = False
    """Go on although the task's source files were edited."""
    argv: Sequence[str] = ()


@dataclass(slots=True, kw_only=True)
class Session:
    database: SearchDatabase
    checkpoints: Path
    storage: Path | None
    """As the user named it; the checkpoints lie in a folder of this search in it."""
    begun: Begun
    """The search as it was begun, with the workers of this session."""
    num_resumes: int = 0
    warnings: tuple[str, ...] = ()
    completed: bool = False
    """Set by whoever runs the search: nobody will go on from a checkpoint."""
    is_accepted: bool = False
    """Whether what this process finds may be noted in the file."""
    goes_on_as: tuple[RunMeta, Recipe] | None = None
    """This process and its recipe, until the file says so."""
    allow_code_changes: bool = False

    @property
    def scheduler(self) -> SchedulerChoice | None:
        """That the search was started with; None for a new one."""
        return self.database.stage(LADDER, SchedulerChoice)

    def recognized(self, facts: TaskInfo) -> TaskInfo:
        """The task as it is now, of a search that goes on with the files noted that were edited since. Raises DataError where
        it is another task than the one that the search was started with."""
        before = self.database.stage(LOAD, TaskInfo)
        if before is None:
            return facts
        ended = self.database.stage(END, StudyEnded)
        failed = ended is not None and ended.stopped_by == "failures"
        # After failures the user has seen the traceback, and mends the code.
        return same_task(before, facts, may_be_edited=self.allow_code_changes or failed)

    def accept(self) -> None:
        """Note in the file that this process goes on, and with which budget. Only once the task's data are known to be the
        same: a refused process leaves the file as it was."""
        self.is_accepted = True
        if self.goes_on_as is None:
            return
        now, recipe = self.goes_on_as
        self.database.add_session(now, self.database.seconds())
        self.database.change("recipe", dump_recipe(recipe))
        self.database.change("recipe_hash", recipe_hash(recipe))
        self.database.change("storage", "" if self.storage is None else str(self.storage.absolute()))
        self.goes_on_as = None

    def note_cluster(self, use: ClusterUse | None, seconds: float) -> None:
        """Note in the file where this process runs its jobs, once it is accepted: what an earlier one noted gives way."""
        if not self.is_accepted:
            return
        if use is None:
            self.database.drop(CLUSTER)
        else:
            self.database.save(CLUSTER, use, seconds)


@contextmanager
def open_session(folder: Path | None, request: SearchRequest, *, resume: bool) -> Iterator[Session]:
    """Begin a search in `folder`, or go on with the one that is there. None: a temporary folder, and a file in memory.

    A search that was left before it had loaded its task leaves no file; one that was not `completed` keeps its checkpoints.

    Raises:
        OutputError: the folder's run is another process's, its file is missing or damaged, or other versions go on with a
            deterministic search.
        RecipeError: other changes of the recipe than a raised budget.
        UsageError: another device, or what `--deterministic` does not allow.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="probe-search-", ignore_cleanup_errors=True) as name:
            session = _begin(IN_MEMORY, Path(name), request)
            try:
                _make(session.checkpoints)
                yield session
            finally:
                shutil.rmtree(session.checkpoints, ignore_errors=True)
        return
    if resume and not (folder / DATABASE_FILE).is_file():
        raise OutputError(
            f"{folder} holds no {DATABASE_FILE}, so there is nothing to resume.",
            hint="Name the folder of a search with --out, or start one without --resume.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with RunLock(folder):
        path = folder / DATABASE_FILE
        session = _resume(path, request) if resume else _begin(path, folder, request)
        checkpoints = session.checkpoints
        try:
            _make(checkpoints)
            yield session
        finally:
            is_empty = not session.database.stage_names()
            session.database.close()
            if is_empty:
                for file in folder.glob(f"{DATABASE_FILE}*"):
                    file.unlink(missing_ok=True)
            if is_empty or session.completed:
                shutil.rmtree(checkpoints, ignore_errors=True)


def stored_begun(database: SearchDatabase) -> Begun:
    """What the search of a file was asked to do, when it began."""
    facts, sessions = database.facts(), database.sessions()
    missing = {"recipe", "device", "data_dir", "num_workers", "deterministic"} - facts.keys()
    if missing or not sessions:
        raise OutputError(f"{database.path} is damaged: {', '.join(sorted(missing)) or 'its session'} is missing.")
    return Begun(
        recipe=facts["recipe"],
        device=facts["device"],
        data_dir=facts["data_dir"],
        num_workers=int(facts["num_workers"]),
        deterministic=facts["deterministic"] == "yes",
        meta=sessions[0],
    )


def stored_recipe(begun: Begun, *, where: str) -> Recipe:
    return parse_recipe(tomllib.loads(begun.recipe), where=where)


def _begin(path: Path, folder: Path, request: SearchRequest) -> Session:
    if request.deterministic:
        check_deterministic(request.recipe, num_workers=request.num_workers)
    if path != IN_MEMORY and path.exists():
        raise OutputError(
            f"{path.parent} holds a search already.", hint="Go on with it by --resume, or name another folder."
        )
    num_workers = 1 if request.deterministic else _num_workers(request)
    meta = _meta(request, num_threads=request.num_threads or threads_per_slot(num_workers))
    begun = Begun(
        recipe=dump_recipe(request.recipe),
        device=str(request.device),
        data_dir=str(request.data_dir),
        num_workers=num_workers,
        deterministic=request.deterministic,
        meta=meta,
    )
    name_in_storage = f"{folder.name}-{CHECKPOINTS}-{secrets.token_hex(4)}"
    facts = {
        "name": request.recipe.name,
        "recipe": begun.recipe,
        "recipe_hash": recipe_hash(request.recipe),
        "device": begun.device,
        "data_dir": begun.data_dir,
        "num_workers": str(num_workers),
        "deterministic": "yes" if begun.deterministic else "no",
        "probe_version": meta.probe_version,
        "storage": "" if request.storage is None else str(request.storage.absolute()),
        "name_in_storage": name_in_storage,
    }
    database = SearchDatabase.create(path, facts)
    database.add_session(meta, 0.0)
    checkpoints = _checkpoints(folder, request.storage, name_in_storage)
    return Session(database=database, checkpoints=checkpoints, storage=request.storage, begun=begun)


def _checkpoints(folder: Path, storage: Path | None, name_in_storage: str) -> Path:
    """Other searches' checkpoints lie in the same storage, and their folders may have the same name."""
    return folder / CHECKPOINTS if storage is None else storage.absolute() / name_in_storage


def _make(checkpoints: Path) -> None:
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder for checkpoints, {checkpoints}, cannot be made: {error}", hint="Name another with --storage."
        ) from None


def _resume(path: Path, request: SearchRequest) -> Session:
    database = SearchDatabase.open(path, to_write=True)
    try:
        begun = stored_begun(database)
        _check_same_terms(begun, request, path)
        if begun.deterministic:
            num_workers, num_threads = 1, begun.meta.num_threads
        else:
            num_workers = _num_workers(request)
            num_threads = request.num_threads or threads_per_slot(num_workers)
        facts = database.facts()
        storage = request.storage or (Path(facts["storage"]) if facts.get("storage") else None)
        checkpoints = _checkpoints(
            path.parent, storage, facts.get("name_in_storage", f"{path.parent.name}-{CHECKPOINTS}")
        )
        now = _meta(request, num_threads=num_threads)
        warning = version_warning(begun.meta, now, deterministic=begun.deterministic)
    except BaseException:
        database.close()
        raise
    return Session(
        database=database,
        checkpoints=checkpoints,
        storage=storage,
        begun=replace(begun, num_workers=num_workers, meta=replace(begun.meta, num_threads=num_threads)),
        num_resumes=len(database.sessions()),
        warnings=() if warning is None else (warning,),
        goes_on_as=(now, request.recipe),
        allow_code_changes=request.allow_code_changes,
    )


def _num_workers(request: SearchRequest) -> int:
    return request.num_workers or default_slots(request.device, request.num_gpus)


def _check_same_terms(begun: Begun, request: SearchRequest, path: Path) -> None:
    check_same_recipe(stored_recipe(begun, where=str(path)), request.recipe)
    if begun.device != str(request.device):
        raise UsageError(
            f"This search was begun on {begun.device}, not on {request.device}.",
            hint=f"Times and memory would not compare. Go on with --device {begun.device}",
        )
    if begun.deterministic:
        check_deterministic(request.recipe, num_workers=request.num_workers)
    elif request.deterministic:
        raise UsageError(
            "This search was begun without --deterministic and cannot become so.", hint="Leave --deterministic away."
        )


def _meta(request: SearchRequest, *, num_threads: int) -> RunMeta:
    """`num_threads` are the workers', who do all the work."""
    return collect_meta(
        device=str(request.device),
        seed=request.recipe.search.seed,
        origin=RunOrigin(argv=tuple(request.argv), recipe_hash=recipe_hash(request.recipe)),
        num_threads=num_threads,
    )
