"""Fixtures of the tests on a real Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ray_clusters import one_core_cluster

from probe.search.executors.ray.cluster import connected
from probe.search.executors.ray.resources import parse_ray_address


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A cluster of one node with one core. Tests remove the nodes that they add."""
    pytest.importorskip("ray")
    with one_core_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def head(cluster: Any) -> Iterator[Any]:
    """The same, with this process connected to it."""
    with connected(parse_ray_address(cluster.address)):
        yield cluster
