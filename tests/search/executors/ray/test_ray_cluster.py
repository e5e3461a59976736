"""Connecting to a cluster, and the errors before a search starts. No cluster is needed."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from probe.device.select import DeviceSpec
from probe.errors import DeviceError, UsageError
from probe.search.backends import find_backend
from probe.search.executors.ray import cluster as ray_cluster
from probe.search.executors.ray.cluster import check_ray, connected
from probe.search.executors.ray.resources import parse_ray_address


def test_without_ray_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match="--ray requires the package ray") as caught:
        check_ray()
    assert caught.value.hint == "pip install 'torch-probe[ray]'"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where a server listens and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_an_address_where_nobody_listens() -> None:
    pytest.importorskip("ray")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with (
        pytest.raises(DeviceError, match=f"--ray 127.0.0.1:{port}: no Ray cluster answers at this address"),
        connected(parse_ray_address(f"127.0.0.1:{port}")),
    ):
        pass


def test_a_server_that_is_no_cluster_is_given_up_in_time(silent_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_cluster, "ANSWER_SECONDS", 1.0)
    with (
        pytest.raises(DeviceError, match="the program on this port is not Ray"),
        connected(parse_ray_address(f"127.0.0.1:{silent_port}")),
    ):
        pass


def test_an_address_is_given_up_within_ten_seconds() -> None:
    assert ray_cluster.CONNECT_SECONDS + ray_cluster.ANSWER_SECONDS < 10


@pytest.mark.parametrize("text", ["auto", "192.0.2.1:6379"])
def test_a_cluster_of_another_version_is_not_told_as_none(text: str) -> None:
    said = RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.50.0\n    Python: 3.11.2")
    error = ray_cluster._not_connected(parse_ray_address(text), said)
    assert error.message == (
        f"--ray {text}: the cluster cannot be used from this machine: Version mismatch: The cluster was started with: "
        "Ray: 2.50.0 Python: 3.11.2"
    )
    assert "the same versions of Python and Ray" in (error.hint or "")


def test_ray_assigns_the_gpus() -> None:
    with (
        pytest.raises(UsageError, match="--device cuda:1 cannot be combined with --ray"),
        find_backend("local:1", device=DeviceSpec(kind="cuda", index=1), num_workers=None, deterministic=False),
    ):
        pass


def test_auto_without_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with (
        pytest.raises(DeviceError, match="--ray auto: this machine does not belong to a Ray cluster"),
        connected(parse_ray_address("auto")),
    ):
        pass
