"""A search is killed again and again: nothing that was acknowledged is lost, and it decides as if nothing had happened."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from storms import real_storm, same_decisions, scripted_storm
from stored_searches import num_repeated_rungs, stored_events, work_on

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and looks at /proc")


def test_a_storm_over_scripted_jobs(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    work_on(tmp_path / "whole")
    storm = scripted_storm(tmp_path / "killed", num_kills=25, seed=0)
    assert storm.num_driver_kills >= 10
    assert storm.num_acknowledged > 100
    assert storm.num_lost == 0
    assert storm.num_torn == 0
    assert storm.most_repeated <= 1
    assert same_decisions(storm.events, stored_events(tmp_path / "whole"))


def test_a_storm_over_real_training(tmp_path: Path) -> None:
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    whole = real_storm(folders[0], num_trials=8, victims="", seed=0)
    storm = real_storm(folders[1], num_trials=8, victims="dwd", seed=1)
    assert (storm.num_driver_kills, storm.num_worker_kills) == (2, 1)
    assert storm.num_lost == 0
    assert max(num_repeated_rungs(storm.events)) <= 1
    assert same_decisions(storm.events, whole.events)
    values = [_values(folder / "run" / "trials.csv") for folder in folders]
    assert values[0] == values[1]
    assert not (folders[1] / "run" / "checkpoints").exists()
    assert not (folders[1] / "run" / "search.lock").exists()


def _values(path: Path) -> list[list[str]]:
    """Every trial's number, status, value and hyperparameters; a killed worker's epoch is spent, so epochs differ."""
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    kept = [index for index, name in enumerate(rows[0]) if name not in ("seconds", "epochs")]
    return [[row[index] for index in kept] for row in rows]
