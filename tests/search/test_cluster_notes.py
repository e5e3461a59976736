"""A search that is told where it runs: in its file, its result and its report. No cluster is needed for that."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_nodes import node_info
from made_recipes import blobs_recipe
from searches import search_outcome

from probe.device.select import DeviceSpec
from probe.report.store import write_report
from probe.search.flow import Search
from probe.search.records.cluster import ClusterUse
from probe.search.records.search import SearchProgress, SearchResult, TrialResult
from probe.search.session import SearchRequest, open_session
from probe.search.storage.schema import CLUSTER
from probe.search.stored_result import stored_result

pytestmark = pytest.mark.usefixtures("warm_workers")

RECIPE = blobs_recipe(budget={"trials": 3}, search={"sampler": "random", "scheduler": "none", "fidelity": {"max": 2}})
NODES = (node_info("left"), node_info("right"))
USE = ClusterUse(
    address="local:2", nodes=NODES, num_slots=2, cpus_per_job=1.0, gpus_per_job=None, storage="/mnt/shared"
)


class DriverGoneError(Exception):
    """The driver is gone."""


Searching = Callable[..., SearchResult]


@pytest.fixture
def search_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Searching:
    """Search with one worker, which is told to be the cluster `use`; `lost` is noted after the first trial."""

    def search(use: ClusterUse | None, *, lost: ClusterUse | None = None, **more: Any) -> SearchResult:
        class OnCluster(Search):
            def run(self) -> Any:
                if use is not None:
                    self.note_cluster(use)
                return super().run()

            def _observe(self, record: Any) -> None:
                if lost is not None and isinstance(record, TrialResult):
                    self.note_cluster(lost)
                super()._observe(record)

        monkeypatch.setattr("probe.search.find.Search", OnCluster)
        result, error = search_outcome(RECIPE, device="cpu", num_workers=1, folder=tmp_path / "run", **more)
        assert error is None
        return result

    return search


def test_where_a_search_runs_is_kept_for_each_session_anew(search_on: Searching, tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def kill(record: Any) -> None:
        if isinstance(record, TrialResult):
            raise DriverGoneError

    with pytest.raises(DriverGoneError):
        search_on(USE, observer=kill)
    killed = stored_result(folder)
    assert killed.cluster == USE
    assert killed.slots is not None
    assert (killed.slots.num_slots, killed.slots.num_nodes, killed.slots.num_retries) == (2, 2, 0)
    assert killed.slots.utilization is not None
    assert killed.slots.utilization <= 0.5  # one worker for two slots
    page = write_report(killed, tmp_path / "killed").read_text(encoding="utf-8")
    assert "`local:2`" in page.split("## Cluster")[1]

    seen: list[Any] = []
    other = replace(USE, address="192.0.2.1:6379", num_slots=4)
    without = replace(other, lost_nodes=("right-id",))
    result = search_on(other, lost=without, resume=True, observer=seen.append)
    assert result.cluster == without
    assert result.slots is not None
    assert (result.slots.num_slots, result.slots.num_nodes) == (4, 1)
    assert {record.slots.num_nodes for record in seen if isinstance(record, SearchProgress) and record.slots} == {1, 2}
    stored = stored_result(folder)
    assert (stored.cluster, stored.slots) == (result.cluster, result.slots)
    report = write_report(result, folder).read_text(encoding="utf-8")
    assert "last of 2 sessions" in report
    assert "`192.0.2.1:6379`" in report
    assert json.loads((folder / "result.json").read_text(encoding="utf-8"))["cluster"]["lost_nodes"] == ["right-id"]

    alone = search_on(None, resume=True)
    assert (alone.cluster, stored_result(folder).cluster) == (None, None)
    assert alone.slots is not None
    assert (alone.slots.num_slots, alone.slots.num_nodes) == (1, None)


def test_a_process_that_is_not_accepted_notes_nothing(tmp_path: Path) -> None:
    request = SearchRequest(
        recipe=RECIPE, device=DeviceSpec(kind="cpu"), data_dir=tmp_path, folder=tmp_path / "run", num_workers=1
    )
    with open_session(request) as session:
        session.note_cluster(USE, 1.0)
        assert session.database.stage_names() == []
        session.accept()
        session.note_cluster(USE, 1.0)
        assert session.database.stage(CLUSTER, ClusterUse) == USE
    with open_session(replace(request, resume=True)) as session:
        session.note_cluster(None, 2.0)
        assert session.database.stage(CLUSTER, ClusterUse) == USE
        session.accept()
        session.note_cluster(None, 2.0)
        assert session.database.stage_names() == []


def test_searches_with_folders_of_one_name_share_no_checkpoints(tmp_path: Path) -> None:
    request = SearchRequest(
        recipe=RECIPE, device=DeviceSpec(kind="cpu"), data_dir=tmp_path, num_workers=1, storage=tmp_path / "shared"
    )
    places = []
    for parent in ("one", "other"):
        with open_session(replace(request, folder=tmp_path / parent / "run")) as session:
            session.accept()
            session.note_cluster(USE, 1.0)  # so that there is something to go on with
            places.append(session.checkpoints)
    assert {place.parent for place in places} == {tmp_path / "shared"}
    assert len(set(places)) == 2
    again = replace(request, folder=tmp_path / "one" / "run", storage=None, resume=True)
    with open_session(again) as session:
        assert session.checkpoints == places[0]


def test_where_nodes_joined_no_share_of_idle_time_is_told(search_on: Searching, tmp_path: Path) -> None:
    result = search_on(USE, lost=replace(USE, joined_nodes=("right-id",)), observer=lambda record: None)
    assert result.slots is not None
    assert (result.slots.num_nodes, result.slots.utilization) == (2, None)
    report = write_report(result, tmp_path / "run").read_text(encoding="utf-8")
    assert "| right | 4 | none | 2.15.0 | not used | not used | 3.11.9 | joined |" in report
    assert "on 2 slots; no rung was run again" in report


def test_why_a_node_got_no_jobs_is_a_warning_once(search_on: Searching, tmp_path: Path) -> None:
    told = "A node that joined the cluster gets no jobs. The node right has probe 0.0.9, and this is 0.1.0."
    result = search_on(USE, lost=replace(USE, refusals=(told,)), observer=lambda record: None)
    assert [warning for warning in result.warnings if "joined" in warning] == [told]
    assert [warning for warning in stored_result(tmp_path / "run").warnings if "joined" in warning] == [told]
    assert told in write_report(result, tmp_path / "run").read_text(encoding="utf-8")
