"""Damage to the folder of a run: bytes, files, JSON values and rows of SQLite."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

NEIGHBOUR = "../neighbour"
"""Files of the user, seen from a file of the working folder; a run is one folder deeper."""
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 7, 10**6, 2**31, 2**63, 10**30, 0.5, -0.5, 1e308, math.nan, math.inf, "", "x",
    "nan", "1e999", "\x1b[31mred\x07", "\u202ereversed", "a|b`c`<script>alert(1)</script>", "x" * 300, "../neighbour",
    [], [1], {}, {"a": 1}, [[]], "finished", "oom", "sgd", "os:system", "2026-01-01T00:00:00Z",
)  # fmt: skip
ODD_FACTS = (
    "", "x", "-1", "0", "1000000000", "cuda:7", "simulated:1KiB", "yes", "maybe", "../store", "../neighbour", "..",
    "a/b", "\x1b[31m", "9" * 5000, "schema = 1", "[[[[",
)  # fmt: skip
PLACES_IN_STORAGE = ("../neighbour", "../neighbour/checkpoints", "..", ".", "", "a/b", "mine", "x" * 300)


@dataclass(frozen=True)
class Damage:
    """One change. `at` are places as fractions: of the files of the folder, of the bytes of a file, of the rows of a table."""

    how: str
    at: tuple[float, float, float]
    odd: int = 0

    def __str__(self) -> str:
        return f"{self.how}({', '.join(f'{place:.4g}' for place in self.at)}, {self.odd})"


def _pick(items: list[Any], place: float) -> Any:
    return items[int(place * len(items))]


def _files(folder: Path) -> list[Path]:
    """The files of a run, the ones that matter first and twice as often."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    telling = [path for path in files if path.name.startswith(("search.sqlite", "result.json", "best.toml"))]
    return telling * 3 + files


def _flip(path: Path, damage: Damage) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[int(damage.at[1] * len(content))] ^= 1 + int(damage.at[2] * 255)
    path.write_bytes(content)


def _cut(path: Path, damage: Damage) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(damage.at[1] * len(content))])


def _zero(path: Path, damage: Damage) -> None:
    content = path.read_bytes()
    start = int(damage.at[1] * len(content))
    length = int(damage.at[2] * (len(content) - start))
    path.write_bytes(content[:start] + bytes(length) + content[start + length :])


def _empty(path: Path, damage: Damage) -> None:
    path.write_bytes(b"")


def _append(path: Path, damage: Damage) -> None:
    path.write_bytes(path.read_bytes() + b"\x00garbage\xff" * (1 + damage.odd))


def _remove(path: Path, damage: Damage) -> None:
    path.unlink()


def _folder(path: Path, damage: Damage) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path, damage: Damage) -> None:
    path.unlink()
    targets = [f"../{NEIGHBOUR}/notes.txt", f"../{NEIGHBOUR}/model.pt", "missing", path.name, "/dev/null"]
    path.symlink_to(_pick(targets, damage.at[1]))


def _swap(path: Path, damage: Damage) -> None:
    """With another file of the run."""
    other = _pick(_files(path.parent), damage.at[1])
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)


FILE_DAMAGE: dict[str, Callable[[Path, Damage], None]] = {
    "flip": _flip, "cut": _cut, "zero": _zero, "empty": _empty, "append": _append, "remove": _remove, "folder": _folder,
    "link": _link, "swap": _swap,
}  # fmt: skip


def places_of(plain: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in nested JSON."""
    found = []
    pairs = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in pairs:
        found += [(plain, key), *places_of(value)]
    return found


def change_json(plain: Any, damage: Damage) -> Any:
    """Delete, replace or duplicate a value, or swap two."""
    places = places_of(plain)
    if not places:
        return ODD_VALUES[damage.odd % len(ODD_VALUES)]
    container, key = _pick(places, damage.at[1])
    match int(damage.at[2] * 5):
        case 0:
            del container[key]
        case 1 if isinstance(container, list):
            container.insert(key, container[key])
        case 2:
            other, at = _pick(places, (damage.at[1] + damage.at[2]) % 1)
            container[key], other[at] = other[at], container[key]
            try:
                json.dumps(plain)
            except (ValueError, RecursionError):  # a value inside of itself
                container[key] = None
        case 3 if isinstance(container[key], (int, float)):
            container[key] = container[key] * 1000 + 1 if damage.odd % 2 else -container[key]
        case _:
            container[key] = ODD_VALUES[damage.odd % len(ODD_VALUES)]
    return plain


def _json(folder: Path, damage: Damage) -> None:
    file = folder / "result.json"
    if file.is_file():
        try:
            plain = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            return
        file.write_text(
            json.dumps((nudge if damage.odd % 2 else change_json)(plain, damage)),
            encoding="utf-8",
            errors="surrogatepass",
        )


def _row(folder: Path, damage: Damage) -> None:
    """Change rows of search.sqlite plausibly, as a program with a bug would."""
    file = folder / "search.sqlite"
    if not file.is_file():
        return
    connection = sqlite3.connect(file)
    try:
        table = _pick(["events", "events", "events", "stages", "search", "sessions"], damage.at[0])
        rows = connection.execute(f"SELECT rowid, * FROM {table}").fetchall()
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        if rows:
            _change_row(connection, table, columns, rows, damage)
        connection.commit()
    except sqlite3.Error:
        connection.rollback()
    finally:
        connection.close()


def nudge(plain: Any, damage: Damage) -> Any:
    """Change one number to another that could be there."""
    places = [(container, key) for container, key in places_of(plain) if type(container[key]) in (int, float)]
    if places:
        container, key = _pick(places, damage.at[1])
        value = container[key]
        container[key] = _pick([value + 1, value - 1, 2 * value, -value, 0 * value, value + 100, 10**6], damage.at[2])
    return plain


def _change_row(
    connection: sqlite3.Connection, table: str, columns: list[str], rows: list[Any], damage: Damage
) -> None:
    row, other = _pick(rows, damage.at[1]), _pick(rows, (damage.at[1] + damage.at[2]) % 1)
    last, is_event = columns[-1], table == "events"
    match damage.odd % 8:
        case 0:
            connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (row[0],))
        case 1 | 2 if is_event:  # once more at the end, or moved there
            connection.execute("INSERT INTO events (seconds, kind, trial, record) VALUES (?, ?, ?, ?)", row[2:])
            if damage.odd % 8 == 2:
                connection.execute("DELETE FROM events WHERE rowid = ?", (row[0],))
        case 3:
            values = [(two[-1], one[0]) for one, two in ((row, other), (other, row))]
            connection.executemany(f"UPDATE {table} SET {last} = ? WHERE rowid = ?", values)
        case 4:
            odd = ODD_VALUES[(damage.odd * 31 + int(damage.at[2] * 997)) % len(ODD_VALUES)]
            value = odd if isinstance(odd, (str, float)) else 7 if isinstance(odd, int) else None
            column = _pick(columns, damage.at[2])
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row[0]))
        case _ if table == "search":
            fact = ODD_FACTS[damage.odd % len(ODD_FACTS)]
            connection.execute("UPDATE search SET value = ? WHERE rowid = ?", (fact, row[0]))
        case case:
            change = change_json if case == 5 else nudge
            changed = json.dumps(change(json.loads(row[-1]), damage))
            connection.execute(f"UPDATE {table} SET {last} = ? WHERE rowid = ?", (changed, row[0]))


def _log(folder: Path, other: Path, damage: Damage) -> None:
    """A log of SQLite that is foreign, removed or of no use."""
    suffix = _pick(["-wal", "-shm", "-journal"], damage.at[0])
    file = folder / f"search.sqlite{suffix}"
    source = other / f"search.sqlite{suffix}" if damage.at[1] < 0.6 else folder / "search.sqlite"
    content = source.read_bytes() if damage.at[1] >= 0.3 and source.is_file() else None
    if not file.is_dir():
        file.unlink(missing_ok=True)  # it may be a link
        if content is not None:
            file.write_bytes(content)


def _checkpoints(folder: Path, damage: Damage) -> None:
    """The folder of the checkpoints leads elsewhere, or contains what is not probe's."""
    path = folder / "checkpoints"
    if path.is_symlink() or path.is_file():  # damaged twice
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    if damage.at[0] < 0.4:
        path.symlink_to(f"../{NEIGHBOUR}")
    elif damage.at[0] < 0.6:
        path.write_bytes(b"not a folder")
    else:
        path.mkdir()
        (path / "mine.pt").symlink_to(f"../../{NEIGHBOUR}/model.pt")


def _storage(folder: Path, damage: Damage) -> None:
    """The rows that name the place of the checkpoints lead elsewhere."""
    file = folder / "search.sqlite"
    if file.is_file():
        rows = {
            "storage": _pick(["../store", "../neighbour", "", "a"], damage.at[1]),
            "name_in_storage": _pick(list(PLACES_IN_STORAGE), damage.at[0]),
        }
        connection = sqlite3.connect(file)
        try:
            connection.executemany("INSERT OR REPLACE INTO search VALUES (?, ?)", rows.items())
            connection.commit()
        except sqlite3.Error:
            connection.rollback()
        finally:
            connection.close()


WHOLE_DAMAGE: dict[str, Callable[[Path, Damage], None]] = {
    "json": _json, "row": _row, "checkpoints": _checkpoints, "storage": _storage,
}  # fmt: skip
DAMAGE = (
    *FILE_DAMAGE,
    "json",
    "json",
    "json",
    "row",
    "row",
    "row",
    "row",
    "row",
    "row",
    "log",
    "foreign",
    "checkpoints",
    "storage",
)


def apply(damage: Damage, folder: Path, other: Path) -> None:
    """Damage the run in `folder`; `other` is another run, whose files may replace its own."""
    if (change := WHOLE_DAMAGE.get(damage.how)) is not None:
        change(folder, damage)
    elif damage.how == "log":
        _log(folder, other, damage)
    elif damage.how == "foreign":
        file = _pick(_files(other), damage.at[0])
        target = folder / file.relative_to(other)
        if not target.is_dir() and target.parent.is_dir():
            target.write_bytes(file.read_bytes())
    elif files := _files(folder):
        FILE_DAMAGE[damage.how](_pick(files, damage.at[0]), damage)


_fraction = st.floats(0, 1, exclude_max=True, allow_subnormal=False)
damages = st.builds(
    Damage, how=st.sampled_from(DAMAGE), at=st.tuples(_fraction, _fraction, _fraction), odd=st.integers(0, 200)
)
