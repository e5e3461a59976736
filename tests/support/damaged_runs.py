"""Runs with damage: rows of search.sqlite, or values of result.json, changed to others that look plausible."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

DATABASE, RESULT = "search.sqlite", "result.json"
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 7, 99, 10**6, 10**18, 10**30, -(10**18), 0.5, -0.5, 1.0, 1e-320, 1e308, -1e308,
    float("nan"), float("inf"), "", "abc", "nan", "adam", "accuracy", "finished", "oom", "crashed", "interrupted", "max",
    "2026-01-01", [], {}, [1], [[]], {"a": 1}, [None], "x" * 5000,
)  # fmt: skip
KINDS = ("TrialSuggested", "TrialStarted", "EpochReported", "TrialEnded", "SearchResumed", "Dreamed")
SECONDS: tuple[Any, ...] = (-1.0, 0.0, 1e308, 9e999, -9e999, "abc", b"\x00\xff", 10**18)
TEXTS: tuple[Any, ...] = (
    "", "abc", "0", "-1", "cuda:9", "yes", 7, b"\xff\xfe", "schema = 1", "9" * 5000, "x = [" * 300
)  # fmt: skip
RECORDS: tuple[Any, ...] = (
    "", "{}", "[]", "null", "7", "NaN", b"\xff", 7, 0.5, "[" * 100_000, '{"number":' + "9" * 5000 + "}"
)  # fmt: skip
Change = Callable[[random.Random, sqlite3.Connection], object]


def change_leaf(draw: random.Random, plain: Any) -> None:
    """Change, remove or repeat one value somewhere inside of parsed JSON."""
    while True:
        keys = list(plain) if isinstance(plain, dict) else range(len(plain)) if isinstance(plain, list) else ()
        if not keys:
            return
        key = draw.choice(list(keys))
        inner = plain[key]
        if isinstance(inner, (dict, list)) and inner and draw.random() < 0.85:
            plain = inner
            continue
        how = draw.random()
        if how < 0.15:
            del plain[key]
        elif how < 0.25 and isinstance(plain, list):
            plain.insert(key, inner)
        elif how < 0.5 and isinstance(inner, (int, float)) and not isinstance(inner, bool):
            plain[key] = draw.choice((inner + 1, inner - 1, -inner, inner * 1000, inner / 3, float(inner), str(inner)))
        else:
            plain[key] = draw.choice(VALUES)
        return


def _changed_text(draw: random.Random, text: str) -> str:
    plain = json.loads(text)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        change_leaf(draw, plain)
    return json.dumps(plain)


def _pick(draw: random.Random, rows: sqlite3.Connection, table: str) -> int:
    return int(draw.choice([row[0] for row in rows.execute(f"SELECT rowid FROM {table}")]))


def _change_record(table: str, column: str) -> Change:
    def change(draw: random.Random, rows: sqlite3.Connection) -> None:
        row = _pick(draw, rows, table)
        [text] = rows.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (row,)).fetchone()
        rows.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (_changed_text(draw, text), row))

    return change


def _set(table: str, column: str, values: tuple[Any, ...]) -> Change:
    def change(draw: random.Random, rows: sqlite3.Connection) -> None:
        rows.execute(
            f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (draw.choice(values), _pick(draw, rows, table))
        )

    return change


def _delete(table: str) -> Change:
    def change(draw: random.Random, rows: sqlite3.Connection) -> None:
        rows.execute(f"DELETE FROM {table} WHERE rowid = ?", (_pick(draw, rows, table),))

    return change


def _delete_several(draw: random.Random, rows: sqlite3.Connection) -> None:
    first = _pick(draw, rows, "events")
    rows.execute("DELETE FROM events WHERE id BETWEEN ? AND ?", (first, first + draw.randrange(12)))


def _repeat(draw: random.Random, rows: sqlite3.Connection) -> None:
    at, to = _pick(draw, rows, "events"), _pick(draw, rows, "events")
    event = rows.execute("SELECT seconds, kind, trial, record FROM events WHERE id = ?", (at,)).fetchone()
    rows.execute("UPDATE events SET id = -id - 1 WHERE id > ?", (to,))
    rows.execute("UPDATE events SET id = -id WHERE id < 0")
    rows.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", (to + 1, *event))


def _swap(draw: random.Random, rows: sqlite3.Connection) -> None:
    one, other = _pick(draw, rows, "events"), _pick(draw, rows, "events")
    rows.execute("UPDATE events SET id = -1 WHERE id = ?", (one,))
    rows.execute("UPDATE events SET id = ? WHERE id = ?", (one, other))
    rows.execute("UPDATE events SET id = ? WHERE id = -1", (other,))


def _cut(draw: random.Random, rows: sqlite3.Connection) -> None:
    rows.execute("DELETE FROM events WHERE id > ?", (_pick(draw, rows, "events"),))


def _drop(draw: random.Random, rows: sqlite3.Connection) -> None:
    rows.execute(f"DROP TABLE {draw.choice(('events', 'stages', 'sessions', 'search'))}")


def _replace_table(draw: random.Random, rows: sqlite3.Connection) -> None:
    table = draw.choice(("events", "stages", "sessions", "search"))
    rows.execute(f"DROP TABLE {table}")
    rows.execute(f"CREATE TABLE {table} (a, b)")
    rows.execute(f"INSERT INTO {table} VALUES (1, 'x')")


CHANGES: tuple[tuple[int, Change], ...] = (
    (30, _change_record("events", "record")),
    (12, _change_record("stages", "record")),
    (5, _change_record("sessions", "meta")),
    (5, _delete("events")),
    (4, _delete_several),
    (5, _repeat),
    (5, _swap),
    (2, _cut),
    (4, _delete("stages")),
    (1, _delete("sessions")),
    (3, _delete("search")),
    (5, _set("search", "value", TEXTS)),
    (4, _set("events", "kind", (*KINDS, b"\xff", 3))),
    (4, _set("events", "seconds", SECONDS)),
    (2, _set("stages", "seconds", SECONDS)),
    (2, _set("sessions", "seconds", SECONDS)),
    (3, _set("events", "record", RECORDS)),
    (3, _set("stages", "record", RECORDS)),
    (2, _set("stages", "name", ("load", "lr:sgd", "dreamed", "cluster", "lr:"))),
    (1, _set("events", "trial", (None, 99, "abc"))),
    (1, lambda draw, rows: rows.execute(f"PRAGMA user_version = {draw.choice((0, 2, 99, -1))}")),
    (1, _drop),
    (1, _replace_table),
    (1, lambda draw, rows: rows.execute("DELETE FROM events")),
)  # fmt: skip


def damage_rows(folder: Path, seed: int) -> str:
    """Change rows of a run's search.sqlite, and leave its result.json out. Returns how."""
    draw = random.Random(seed)
    names = []
    (folder / RESULT).unlink(missing_ok=True)
    with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as rows:
        rows.execute("PRAGMA synchronous = OFF")
        for _ in range(draw.choice((1, 1, 1, 2))):
            weights, changes = zip(*CHANGES, strict=True)
            index = draw.choices(range(len(changes)), weights)[0]
            try:
                changes[index](draw, rows)
            except (sqlite3.Error, IndexError, ValueError) as error:  # the row or table is gone already
                names.append(f"({error})")
            names.append(f"change {index}")
    return ", ".join(names)


def damage_bytes(folder: Path, seed: int) -> str:
    """Cut a run's search.sqlite or overwrite some of its bytes, and leave its result.json out. Returns how."""
    draw, file = random.Random(seed), folder / DATABASE
    (folder / RESULT).unlink(missing_ok=True)
    content = bytearray(file.read_bytes())
    if draw.random() < 0.4:
        at = draw.choice((0, 1, 16, 99, 100, 4096, draw.randrange(len(content))))
        file.write_bytes(content[:at])
        return f"cut at {at}"
    for _ in range(draw.choice((1, 3, 20))):
        at, length = draw.randrange(len(content)), draw.choice((1, 2, 50, 4096))
        content[at : at + length] = draw.randbytes(length)
    file.write_bytes(content)
    return "bytes"


def damage_result(folder: Path, seed: int, *, has_database: bool) -> str:
    """Change a run's result.json. Returns how."""
    draw, file = random.Random(seed), folder / RESULT
    if not has_database:
        (folder / DATABASE).unlink(missing_ok=True)
    text = file.read_text()
    if draw.random() < 0.15:
        torn = (
            "",
            text[: draw.randrange(len(text))],
            "[]",
            "{}",
            "null",
            '{"kind": "search"}',
            text.replace('"search"', '"lr"', 1),
        )
        file.write_text(draw.choice(torn))
        return "torn"
    plain = json.loads(text)
    if draw.random() < 0.05:
        plain["trials"] = [dict(plain["trials"][0], number=number) for number in range(3000)]
    for _ in range(draw.choice((1, 1, 2, 3))):
        change_leaf(draw, plain)
    file.write_text(json.dumps(plain))
    return "values"
