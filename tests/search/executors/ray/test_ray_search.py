"""Whole searches on a real Ray cluster of this machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from made_recipes import blobs_recipe
from ray_clusters import add_node

from probe.errors import UsageError
from probe.search.find import find_hyperparameters
from probe.search.records.search import SearchResult

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
    assert list((tmp_path / "shared").iterdir()) == []  # the search is complete


def test_a_search_on_several_machines_needs_a_storage(cluster: Any, tmp_path: Path) -> None:
    node = add_node(cluster, node_ip_address="127.0.0.2")  # an address of its own makes it another machine
    search = partial(find_hyperparameters, blobs_recipe(), device="cpu", num_workers=2, ray=cluster.address)
    try:
        with pytest.raises(UsageError, match="2 machines") as raised:
            search(folder=tmp_path / "run")
        assert "--storage" in raised.value.message
        assert list((tmp_path / "run").glob("search.sqlite*")) == []  # no trial was started
        result = search(folder=tmp_path / "run", storage=tmp_path / "shared")
    finally:
        cluster.remove_node(node)
    assert result.cluster is not None
    assert len({node.address for node in result.cluster.nodes}) == 2
    assert (tmp_path / "run" / "winner.safetensors").is_file()
    assert list((tmp_path / "shared").iterdir()) == []
