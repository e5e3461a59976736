"""Folders of earlier runs: load their results, find the search to resume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from probe.errors import OutputError, UsageError

if TYPE_CHECKING:
    from probe.report.kinds import Result
    from probe.search.records.search import SearchResult

SEARCH_FILE = "search.sqlite"
"""Equal to probe.search.storage.database.DATABASE_FILE, whose module is slow to import."""


def run_folder(run: Path) -> Path:
    """Return the folder of a run that is given by its folder or by its result.json."""
    return run if run.is_dir() else run.parent


def load_run(path: Path) -> Result:
    """Load the result of a run from its folder or from its result.json.

    The result of a search that was killed, or resumed after its result.json was written, is read from its search.sqlite.
    """
    from probe.report.store import RESULT_FILE, load_result

    if not path.is_dir() or not (path / SEARCH_FILE).is_file():
        return load_result(path)
    result = load_result(path) if (path / RESULT_FILE).exists() else None
    if result is not None and result.kind == "search":
        from probe.search.storage.database import num_sessions

        sessions = num_sessions(path)
        if sessions is None or sessions - 1 <= result.num_resumes:
            return result
    from probe.search.stored_result import stored_result

    return stored_result(path)


def load_search(run: Path, *, hint: str) -> SearchResult:
    """Load the result of a search.

    Raises:
        UsageError: the run is not a search; `hint` says what to do.
    """
    result = load_run(run)
    if result.kind != "search":
        raise UsageError(f"{run} is not a search: its result is of kind {result.kind}.", hint=hint)
    return result


def run_to_resume(name: str, out: Path | None) -> Path:
    """Return the folder of the search to resume: `out`, or the newest run with this name.

    Raises:
        OutputError: there is no such search.
    """
    from probe.report.folders import REPORTS, newest_folder

    folder = out or newest_folder(name)
    if folder is None:
        raise OutputError(
            f"There is no run named {name} in {REPORTS} to resume.",
            hint="Give the folder of a search with --out, or start a new search without --resume.",
        )
    if not (folder / SEARCH_FILE).is_file():
        raise OutputError(
            f"{folder} contains no {SEARCH_FILE}, so there is nothing to resume.",
            hint="Give the folder of a search with --out, or start a new search without --resume.",
        )
    return folder
