"""The tables and views of `search.sqlite`; `database.py` says what each of them holds."""

from __future__ import annotations

FILE_SCHEMA = 1
"""SQLite's `user_version` of the file. Raised when a table, or the meaning of an event, changes."""
TABLES = """
CREATE TABLE search (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sessions (id INTEGER PRIMARY KEY, seconds REAL NOT NULL, meta TEXT NOT NULL);
CREATE TABLE stages (name TEXT PRIMARY KEY, seconds REAL NOT NULL, record TEXT NOT NULL);
CREATE TABLE events (id INTEGER PRIMARY KEY, seconds REAL NOT NULL, kind TEXT NOT NULL, trial INTEGER, record TEXT NOT NULL);
CREATE VIEW asked AS SELECT id, seconds, trial, json_extract(record, '$.params') AS params,
    json_extract(record, '$.positions') AS positions, json_extract(record, '$.seed') AS seed
    FROM events WHERE kind = 'asked';
CREATE VIEW started AS SELECT id, seconds, trial, json_extract(record, '$.rung') AS rung FROM events WHERE kind = 'started';
CREATE VIEW reported AS SELECT id, seconds, trial, json_extract(record, '$.report.epoch') AS epoch,
    json_extract(record, '$.report.train_loss') AS train_loss, json_extract(record, '$.report.val_loss') AS val_loss,
    json_extract(record, '$.report.metrics') AS metrics, json_extract(record, '$.report.seconds') AS epoch_seconds
    FROM events WHERE kind = 'reported';
CREATE VIEW ended AS SELECT id, seconds, trial, json_extract(record, '$.outcome') AS outcome,
    json_extract(record, '$.seconds') AS rung_seconds, json_extract(record, '$.message') AS message
    FROM events WHERE kind = 'ended';
CREATE VIEW resumed AS SELECT id, seconds, json_extract(record, '$.after') AS after FROM events WHERE kind = 'resumed';
CREATE VIEW trials AS SELECT trial, params,
    (SELECT max(rung) FROM started WHERE started.trial = asked.trial) AS last_rung_started,
    (SELECT count(DISTINCT epoch) FROM reported WHERE reported.trial = asked.trial) AS epochs,
    (SELECT outcome FROM ended WHERE ended.trial = asked.trial ORDER BY id DESC LIMIT 1) AS last_outcome
    FROM asked;
"""
