"""The searches that this user has started or trusts, by their random ids, in a file of the user's state folder.

A recipe is code, since it names a function to import. Whoever types the name of a recipe wants it to run; the folder of a run
and its best.toml may come from someone else. So the command line resumes a search, or trains from a best.toml, without a
question only if the id of the search is in this file.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from probe.errors import OutputError, UsageError
from probe.files import write_text
from probe.system.module_names import add_working_folder, find_file

MAX_RUNS = 10_000
"""Number of ids that are kept, the newest ones."""
_LOCK_SECONDS = 5.0
_COMMENT = re.compile(r"^# run: +([0-9a-f]{32})\s*$", flags=re.MULTILINE)


def new_run_id() -> str:
    """A random id for a new search: 32 hexadecimal digits."""
    return secrets.token_hex(16)


def run_id_in(recipe: str) -> str | None:
    """The id of the search that wrote the text of a recipe, from its comment `# run: ...`; None if a person wrote it."""
    found = _COMMENT.search(recipe)
    return None if found is None else found[1]


def runs_file() -> Path:
    """The file of the ids, one a line. Raises RuntimeError if this user has no home folder."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    folder = given if given.is_absolute() else Path.home() / ".local" / "state"
    return folder / "probe" / "runs.txt"


def remember(run_id: str) -> None:
    """Add an id to the file, unless the file cannot be written: --trust then has to be given to resume."""
    with suppress(OSError, RuntimeError, NotImplementedError, OutputError):
        file = runs_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock"), timeout=_LOCK_SECONDS):
            known = _known_ids()
            if run_id not in known:
                write_text(file, "\n".join([*known[1 - MAX_RUNS :], run_id, ""]))


def check_own(run_id: str | None, target: str, *, asked_for: str) -> None:
    """Raise UsageError, which names the target and its file, unless the search is known. `asked_for` would import it."""
    if run_id in _known_ids():
        return
    add_working_folder()
    module = target.partition(":")[0]
    file = find_file(module)
    where = f"in {file}" if file is not None else f"in a module {module} that is not found here"
    raise UsageError(
        f"{asked_for} runs the code of the task {target}, {where}, but you have not started this search.",
        hint=f"If you trust that code, repeat the command with --trust. {_list_text()}",
    )


def _list_text() -> str:
    with suppress(RuntimeError):
        return f"The searches that you have started are listed in {runs_file()}."
    return "Without a home folder, probe cannot list the searches that you have started."


def _known_ids() -> list[str]:
    try:
        return runs_file().read_text(encoding="utf-8", errors="replace").split()
    except (OSError, RuntimeError):
        return []
