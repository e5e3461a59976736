"""A folder in which cases run, with files beside it that no command may touch, and the list of what a command touched."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from probe.files import finished_name

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    "os.remove": 1,
    "os.rmdir": 1,
    "os.rename": 2,
    "os.mkdir": 1,
    "os.truncate": 1,
    "os.chmod": 1,
    "shutil.rmtree": 1,
}
"""Audit event -> number of its first arguments that are changed paths."""
SENTINELS = {
    "neighbour/notes.txt": b"my notes\n",
    "neighbour/model.pt": b"\x80\x02my weights",
    "neighbour/checkpoints/epoch-1.pt": b"\x80\x02mine as well",
    "store/mine.pt": b"\x80\x02a file of another program",
    "home/.profile": b"export LANG=C.UTF-8\n",
    "work/mine.txt": b"a file in the working folder\n",
}


class Sandbox:
    """`work` is the working folder of the cases, `home`, `tmp` and `neighbour` are beside it. `store` stands for a storage
    that other programs use, too: a command may add files there, but not change any."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work, self.home, self.tmp, self.store = (root / name for name in ("work", "home", "tmp", "store"))
        self.private = root.with_name(f"{root.name}-private")
        """Files of the lab itself: output of the cases, caches of libraries, made runs."""
        self.private.mkdir(parents=True, exist_ok=True)

    def environment(self) -> dict[str, str]:
        places = {
            f"XDG_{name}_HOME": str(self.home / f".{name.lower()}") for name in ("CACHE", "CONFIG", "DATA", "STATE")
        }
        own = {"HOME": str(self.home), "TMPDIR": str(self.tmp), "MPLCONFIGDIR": str(self.private / "matplotlib")}
        own["TORCHINDUCTOR_CACHE_DIR"] = str(self.private / "inductor")
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        return {**places, **own, **threads, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "100"}

    def clear(self) -> None:
        """Make everything anew. `work` itself stays the same folder."""
        for folder in (self.work, self.root):
            folder.mkdir(parents=True, exist_ok=True)
            for path in folder.iterdir():
                if path == self.work:
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        for name, content in SENTINELS.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.tmp.mkdir()

    def snapshot(self, allowed: Iterable[Path]) -> dict[str, object]:
        """Path -> content of all files and links outside of the allowed folders; None for a folder."""
        skipped = {str(path) for path in allowed}
        found: dict[str, object] = {}
        pending = [str(self.root)]
        while pending:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.path in skipped:
                        continue
                    if entry.is_symlink():
                        found[entry.path] = os.readlink(entry.path)
                    elif entry.is_dir():
                        found[entry.path] = None
                        pending.append(entry.path)
                    else:
                        status = entry.stat()
                        content = hashlib.blake2b(Path(entry.path).read_bytes()).hexdigest()
                        found[entry.path] = (status.st_size, status.st_mtime_ns, content)
        return found

    def touched(self, before: dict[str, object], after: dict[str, object]) -> list[str]:
        """What differs: `created`, `changed` or `removed`, and the path below the sandbox."""
        found = []
        for path in sorted(before.keys() | after.keys()):
            name = os.path.relpath(path, self.root)
            if path not in before:
                if not Path(path).is_relative_to(self.store):
                    found.append(f"created {name}")
            elif path not in after:
                found.append(f"removed {name}")
            elif before[path] != after[path]:
                found.append(f"changed {name}")
        return found


class Audit:
    """Notes each write outside of the allowed folders, also one that was undone, and each command of a shell. A write
    outside of the sandbox is prevented as well: a fault of probe must not harm the machine that looks for it.
    The hook of a process stays until its end, so that one is made in a process that runs one case."""

    def __init__(self, sandbox: Sandbox, allowed: Iterable[Path], log: Path) -> None:
        own = (sandbox.tmp, sandbox.store, sandbox.private, Path("/dev"))
        self._allowed = tuple(os.path.realpath(path) for path in (*allowed, *own))
        self._outer = (os.path.realpath(sandbox.root), *self._allowed)
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def install(self) -> None:
        sys.addaudithook(self._see)

    def _see(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            if isinstance(args[2], int) and args[2] & WRITES:
                self._check(event, args[0], follow=True)
        elif event in CHANGES:
            for path in args[: CHANGES[event]]:
                self._check(event, path)
        elif event == "sqlite3.connect":
            name = os.fsdecode(args[0])
            # A connection that creates no file is no write yet; the snapshot shows what it changes.
            if "mode=r" not in name and name not in ("", ":memory:"):
                self._check(event, name.removeprefix("file://").partition("?")[0], follow=True)
        elif event == "os.system":
            self._note(event, args[0])

    def _check(self, event: str, path: object, *, follow: bool = False) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):  # a file descriptor
            return
        try:
            name = os.path.abspath(os.fsdecode(path))
            place = (
                os.path.realpath(name)
                if follow
                else f"{os.path.realpath(os.path.dirname(name))}/{os.path.basename(name)}"
            )
        except (OSError, ValueError):  # no such path is possible
            return
        is_nothing = event in CHANGES and os.path.lexists(place) == (event == "os.mkdir")  # an attempt without effect
        if not is_nothing and not _is_in(place, self._allowed):
            self._note(event, place)
        if not _is_in(place, self._outer):
            raise PermissionError(f"{place} is outside of the sandbox")

    def _note(self, event: str, what: object) -> None:
        os.write(self._log, f"{event} {what}\n".encode(errors="backslashreplace"))


def _is_in(place: str, folders: Iterable[str]) -> bool:
    folder, name = os.path.split(place)
    place = f"{folder}/{finished_name(name)}"  # the unfinished content of a file is written beside it
    return any(place == folder or place.startswith(f"{folder}/") for folder in folders)
