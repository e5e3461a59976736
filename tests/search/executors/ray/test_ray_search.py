"""Whole searches on a real Ray cluster of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_recipes import blobs_recipe

from probe.device.select import DeviceSpec
from probe.errors import OutputError
from probe.search.backends import find_backend
from probe.search.find import find_hyperparameters
from probe.search.records.search import SearchResult
from probe.search.session import SearchRequest, open_session

pytest.importorskip("ray")
pytestmark = pytest.mark.ray


def decided(result: SearchResult) -> list[tuple[object, ...]]:
    return [(trial.number, dict(trial.params), trial.rungs, trial.value, trial.status) for trial in result.trials]


def test_a_deterministic_search_decides_and_measures_as_on_this_machine(tmp_path: Path) -> None:
    recipe = blobs_recipe()
    here = find_hyperparameters(recipe, device="cpu", deterministic=True, folder=tmp_path / "here")
    there = find_hyperparameters(
        recipe,
        device="cpu",
        deterministic=True,
        ray="local:1",
        folder=tmp_path / "there",
        storage=tmp_path / "shared",
    )
    assert decided(there) == decided(here)
    assert there.test == here.test
    assert (tmp_path / "there" / "winner.safetensors").read_bytes() == (
        tmp_path / "here" / "winner.safetensors"
    ).read_bytes()
    assert here.cluster is None
    assert there.cluster is not None
    assert (there.cluster.address, len(there.cluster.nodes), there.cluster.num_slots) == ("local:1", 1, 1)
    assert there.cluster.storage == str(tmp_path / "shared")
    assert list((tmp_path / "shared").iterdir()) == []  # nobody will go on from them


def test_a_storage_that_a_node_does_not_see_is_said_before_the_first_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probe.search.executors.ray.nodes.blind_nodes", lambda nodes: ["node-b"])
    device = DeviceSpec(kind="cpu")
    with find_backend("local:1", device=device, num_workers=None, deterministic=False) as host:
        for storage in (tmp_path / "shared", None):
            folder = tmp_path / f"run-{storage is None}"
            request = SearchRequest(
                recipe=blobs_recipe(),
                device=host.device,
                data_dir=tmp_path,
                folder=folder,
                num_workers=1,
                storage=storage,
            )
            with open_session(request) as session:
                if storage is not None:
                    with (
                        pytest.raises(OutputError, match="The node node-b does not see the storage"),
                        host.open(session),
                    ):
                        pass
                    continue
                with host.open(session) as executor:  # the run's own folder: checkpoints travel with the jobs
                    assert executor.cluster is not None
                    assert executor.cluster.storage is None
