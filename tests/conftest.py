"""Settings of all tests, made before any of them imports torch, and the pool of worker processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

# One thread per process, and idle threads asleep, so that parallel tests do not compete for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Background jobs of a shell ignore Ctrl-C, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # ignored under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The searches that tests start are listed in a temporary folder, not in that of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def worker_pool() -> Iterator[None]:
    from warm_workers import close_all

    yield
    close_all()


@pytest.fixture(scope="module")
def warm_workers(worker_pool: None) -> Iterator[None]:
    """Searches of the module run in worker processes that earlier searches have left."""
    from warm_workers import take_from_pool

    with take_from_pool():
        yield


pytest_plugins = ["cli_tools", "fake_gpus", "ray_clusters"]
