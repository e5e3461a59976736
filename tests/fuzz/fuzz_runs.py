"""The small real runs that are damaged, the files of a user's folder, and an undisturbed command of each kind."""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import pkgutil
import shutil
import sqlite3
from pathlib import Path

from cli_tools import RECIPE, TASK
from fuzz_case import Case

TINY = b"""schema = 1
name = "tiny"
[task]
model = "mlp"
data = "digits"
num_train = 200
objective = { metric = "accuracy", mode = "max" }
[space]
batch_size = 32
optimizer = { choices = ["sgd", "adam"] }
lr = { low = 1e-3, high = 0.1, log = true }
momentum = { low = 0.5, high = 0.95, when = { optimizer = "sgd" } }
width = { choices = [8, 16] }
[search]
sampler = "random"
fidelity = { min = 1, max = 3, factor = 3 }
[budget]
trials = 4
"""
ONE = b"""schema = 1
name = "one"
[task]
model = "mlp"
data = "digits"
num_train = 200
objective = { metric = "accuracy", mode = "max" }
[space]
batch_size = 32
lr = 0.05
[budget]
trials = 1
"""
USERS_FILES = {"tiny.toml": TINY, "one.toml": ONE, "blobs.toml": RECIPE.encode(), "clitask.py": TASK.encode()}
SEARCH = ("search", "tiny.toml", "--workers", "1", "--device", "cpu", "--quiet")


def unfinish(folder: Path) -> None:
    """Make a finished search one that was killed: its last third is not there, and its last rows are in the log only."""
    for path in folder.iterdir():
        if path.name != "search.sqlite":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    database = folder / "search.sqlite"
    connection = sqlite3.connect(database, isolation_level=None)
    [(last,)] = connection.execute("SELECT max(id) FROM events")
    rows = connection.execute(
        "SELECT * FROM events WHERE id BETWEEN ? AND ?", (last // 2 + 1, 2 * last // 3)
    ).fetchall()
    connection.execute("DELETE FROM stages WHERE name IN ('end', 'final')")
    connection.execute("DELETE FROM events WHERE id > ?", (last // 2,))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)
    for suffix in ("", "-wal", "-shm"):  # copied while the log is not yet folded into the file
        shutil.copy(f"{database}{suffix}", folder / f"copy{suffix}")
    connection.close()
    for suffix in ("", "-wal", "-shm"):
        (folder / f"copy{suffix}").replace(f"{database}{suffix}")
    (folder / "checkpoints").mkdir()


SEARCHED = Case(args=(*SEARCH, "--out", "search"), files=USERS_FILES, writes=("search",))
"""Makes the run `search`."""
KILLED = "killed"
"""The same search as a kill would have left it."""
DRAWN = ("batch", "lr", "train")
"""Runs that are drawn from records made by hand."""
RUN_NAMES = ("search", KILLED, *DRAWN)
PLAIN: dict[str, Case] = {
    "space": Case(args=("space", "tiny.toml"), files=USERS_FILES),
    "report": Case(args=("report", "search"), runs=("search",), writes=("search",)),
    "compare": Case(args=("compare", "search", KILLED), runs=("search", KILLED), writes=("reports",)),
    "export": Case(args=("export", "search", "--optuna", "sqlite:///x.db"), runs=("search",), writes=("x.db",)),
    "train": Case(args=("train", "one.toml", "--epochs", "1"), files=USERS_FILES, writes=("reports",)),
}
PLAIN["search"] = PLAIN["report"]  # which is what a resumed search does in its own process
"""An undisturbed command of each kind: what it needs of CPU time is not counted against one with damage."""


def warm_up(runs: Path, *, is_heavy: bool) -> None:
    """Import once what the commands import, or what `probe space` imports. The reports that fill the caches of libraries are
    the drawn runs, in `runs`."""
    from probe.cli.main import run

    Path("tiny.toml").write_bytes(TINY)
    with contextlib.redirect_stdout(io.StringIO()):
        run(["space", "tiny.toml"])
    if is_heavy:
        _import_everything(runs)
    gc.collect()
    gc.freeze()
    gc.disable()


def _import_everything(runs: Path) -> None:
    import made_records

    import probe
    from probe.report.store import write_report

    for module in pkgutil.walk_packages(probe.__path__, "probe."):
        if "__main__" not in module.name and ".ray" not in module.name:
            importlib.import_module(module.name)
    for name in ("optuna", "sklearn.datasets"):
        importlib.import_module(name)
    for name in DRAWN:
        write_report(getattr(made_records, f"{name}_result")(), runs / name)
