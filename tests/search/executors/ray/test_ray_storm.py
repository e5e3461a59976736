"""A search on a cluster of two nodes finishes and repeats no finished rung if it loses a node or its driver."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_histories import History, history
from ray_storms import RayStorms, SearchSize

from probe.search.jobs.jobs import RungReport
from probe.search.study.events import EpochReported, Event, SearchResumed, TrialEnded, TrialStarted, TrialSuggested
from probe.training.records import EpochReport

NUM_TRIALS = 5

asked = TrialSuggested(number=0, positions={}, params={}, seed=0)
finished = TrialEnded(number=0, report=RungReport(outcome="finished", seconds=1.0))
crashed = TrialEnded(number=0, report=RungReport(outcome="crashed", seconds=1.0))


def started(rung: int) -> TrialStarted:
    return TrialStarted(number=0, rung=rung)


def reported(epoch: int) -> EpochReported:
    return EpochReported(
        number=0, report=EpochReport(epoch=epoch, train_loss=1.0, val_loss=1.0, metrics={"accuracy": 0.5}, seconds=1.0)
    )


@pytest.mark.parametrize(
    ("events", "counts"),
    [
        ([started(0), reported(1), finished, started(1), reported(2), reported(3), finished], {}),
        ([started(0), reported(1), crashed, started(0), reported(1), finished], {"num_crashes": 1}),
        ([started(0), reported(1), SearchResumed(), started(0), reported(1), finished], {"num_rolled_back": 1}),
        ([started(0), reported(1), crashed], {"num_crashes": 1, "num_unfinished": 1}),
        ([started(0), reported(1)], {"num_unfinished": 1}),
        ([started(0), finished, started(0), finished], {"num_finished_again": 1}),
        ([started(0), reported(1), reported(1), finished], {"num_strays": 1}),
        ([started(0), reported(1), finished, finished], {"num_strays": 1}),
        ([started(0), reported(1), finished, reported(2)], {"num_strays": 1}),
    ],
)
def test_a_history_counts_losses_and_repetitions(events: list[Event], counts: dict[str, int]) -> None:
    nothing = dict.fromkeys(("num_unfinished", "num_finished_again", "num_crashes", "num_strays", "num_rolled_back"), 0)
    assert history([asked, *events]) == History(num_trials=1, **{**nothing, **counts})


@pytest.fixture(scope="module")
def storms(cluster: Any) -> Iterator[RayStorms]:
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    storms = RayStorms(cluster, SearchSize(num_trials=NUM_TRIALS, epoch_seconds=0.15))
    yield storms
    storms.close()


@pytest.mark.ray
def test_a_node_that_is_lost_costs_the_rung_that_ran_there_and_no_more(storms: RayStorms, tmp_path: Path) -> None:
    kill = storms.kill_node(tmp_path, seed=0)
    assert kill.exit_code == 0
    assert kill.history.num_trials == NUM_TRIALS
    assert kill.history.num_unfinished == kill.history.num_finished_again == kill.history.num_strays == 0
    assert kill.history.num_crashes <= 1
    assert kill.on_dead_node == 0


@pytest.mark.ray
def test_a_driver_that_is_killed_and_resumed_loses_nothing_and_decides_alike(storms: RayStorms, tmp_path: Path) -> None:
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    kill = storms.kill_driver(folders[1], seed=1, whole=storms.leave_alone(folders[0], seed=1))
    assert kill.exit_code == 0
    assert kill.num_acknowledged > 0
    assert kill.num_lost == 0
    assert kill.history.num_trials == NUM_TRIALS
    assert kill.history.num_unfinished == kill.history.num_finished_again == kill.history.num_strays == 0
    assert kill.history.num_rolled_back <= 1
    assert kill.differs is False
