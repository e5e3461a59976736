"""A run's folder on the command line: its result, wherever that is, and the run that `--resume` means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from probe.errors import OutputError

if TYPE_CHECKING:
    from probe.report.kinds import Result

SEARCH_FILE = "search.sqlite"
"""probe.search.storage.database.DATABASE_FILE, which would load much more."""


def load_run(path: Path) -> Result:
    """The result of `path`, a run's folder or its result.json.

    Of a search that was killed, or went on after its result.json was written, it is made from search.sqlite.
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


def run_to_resume(name: str, out: Path | None) -> Path:
    """The folder that `--resume` goes on in: `out`, else the newest run called `name`. Raises OutputError."""
    from probe.report.folders import REPORTS, newest_folder

    folder = out or newest_folder(name)
    if folder is None:
        raise OutputError(
            f"There is no run called {name} in {REPORTS} to resume.", hint="Name its folder with --out, or start one."
        )
    if not (folder / SEARCH_FILE).is_file():
        raise OutputError(
            f"{folder} holds no {SEARCH_FILE}, so there is nothing to resume.",
            hint="Name the folder of a search with --out, or start one without --resume.",
        )
    return folder
