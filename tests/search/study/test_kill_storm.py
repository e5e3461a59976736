"""A search is killed again and again: nothing that was acknowledged is lost, and it decides as if nothing had happened."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from stored_searches import stored_events, work_on
from storms import real_search, real_storm, same_decisions, scripted_storm

from probe.search.records.search import TrialResult
from probe.search.stored_result import stored_result

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and looks at /proc")


def test_a_storm_over_scripted_jobs(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    work_on(tmp_path / "whole")
    storm = scripted_storm(tmp_path / "killed", num_kills=25, seed=0)
    assert storm.num_driver_kills == 25
    assert storm.num_acknowledged > 100
    assert storm.num_lost == 0
    assert storm.num_torn == 0
    assert storm.most_repeated <= 1
    assert same_decisions(storm.events, stored_events(tmp_path / "whole"))


@pytest.mark.usefixtures("warm_workers")
def test_a_storm_over_real_training(tmp_path: Path) -> None:
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    whole = real_search(folders[0])
    storm = real_storm(folders[1], victims="wd", seed=1)
    assert (storm.num_driver_kills, storm.num_worker_kills) == (1, 1)
    assert storm.num_lost == 0
    assert storm.most_repeated <= 1
    assert same_decisions(storm.events, stored_events(folders[0] / "run"))
    killed = stored_result(folders[1] / "run")
    assert [_values(trial) for trial in killed.trials] == [_values(trial) for trial in whole.trials]
    assert (killed.stopped_by, killed.num_resumes, whole.num_resumes) == ("trials", 1, 0)
    assert killed.test == whole.test
    assert sorted(file.name for file in (folders[1] / "run").iterdir()) == ["search.sqlite", "winner.safetensors"]


def _values(trial: TrialResult) -> tuple[object, ...]:
    """All but times; a killed worker's epoch is spent, so that epochs may differ."""
    curve = [(report.epoch, report.train_loss, report.val_loss, report.metrics) for report in trial.reports]
    return trial.number, trial.params, trial.seed, trial.status, trial.value, trial.rungs, curve
