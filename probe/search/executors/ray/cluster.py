"""Connects to a running Ray cluster, or starts a local one."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from probe.errors import DeviceError, last_line
from probe.search.executors.ray.resources import RayAddress

CONNECT_SECONDS, ANSWER_SECONDS = 2.0, 7.5
"""Time for a head node to accept a connection, and to answer on it. Together less than ten seconds."""
_WORKER_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONSAFEPATH": "1"}
"""Passive waiting leaves the cores to other workers; the safe path keeps a user's folder named `probe` from being imported."""


def check_ray() -> None:
    """Raise DeviceError if the package ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise DeviceError(
            "--ray requires the package ray, which is not installed.", hint="pip install 'torch-probe[ray]'"
        )


@contextlib.contextmanager
def connected(address: RayAddress, *, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Connect this process to a cluster. A cluster that was started for `local:N` ends with the context. Raises
    DeviceError if Ray is not installed, no cluster answers within ten seconds, or it has another version of Ray or
    Python."""
    check_ray()
    _check_answers(address)
    import ray

    with _quiet():
        logging.getLogger("ray").setLevel(logging.ERROR)
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        options["runtime_env"] = {"env_vars": {**_WORKER_ENVIRONMENT, **(environment or {})}}
        if address.num_local is None:
            options["address"] = address.text
        else:
            # Without "local", Ray would connect to a cluster that already runs on this machine.
            options |= {"address": "local", "num_cpus": address.num_local, "include_dashboard": False}
            # With Ray's default of 15, any other program slows the search down.
            os.environ.setdefault("RAY_worker_niceness", "0")
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
            raise _not_connected(address, error) from None
        try:
            yield
        finally:
            ray.shutdown()


def _check_answers(address: RayAddress) -> None:
    """Check that a cluster answers, with `ray health-check` in a process that can be ended: `ray.init` tries for a minute."""
    if address.num_local is not None:
        return
    place = address.host_and_port
    if place is not None:
        try:
            socket.create_connection(place, timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise _no_answer(address, str(error)) from None
    arguments = [] if place is None else ["--address", address.text]
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "ray.scripts.scripts", "health-check", *arguments],
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        if place is None:
            raise _not_connected(address, TimeoutError()) from None
        raise _no_answer(address, "the program on this port is not Ray") from None
    if done.returncode != 0 and "InvalidAuthToken" in done.stderr:
        raise DeviceError(
            f"--ray {address.text}: the cluster requires a token, and the token of this machine is missing or differs.",
            hint="Copy ~/.ray/auth_token from the head node to this machine, then run: export RAY_AUTH_MODE=token",
        )
    if done.returncode != 0 and "version mismatch" in done.stderr:
        raise _not_connected(address, RuntimeError(last_line(done.stderr)))
    if done.returncode != 0 and place is None:
        raise _not_connected(address, ConnectionError(done.stderr))
    if done.returncode != 0:
        raise _no_answer(address, (done.stderr.strip().splitlines() or ["no answer"])[-1])


def _no_answer(address: RayAddress, why: str) -> DeviceError:
    port = (address.host_and_port or ("", 6379))[1]
    return DeviceError(
        f"--ray {address.text}: no Ray cluster answers at this address ({why}).",
        hint=f"Start one with `ray start --head --port {port}` on that machine. `ray status` shows whether it is running.",
    )


def _not_connected(address: RayAddress, error: Exception) -> DeviceError:
    reason = " ".join(str(error).split())
    if address.text == "auto" and isinstance(error, ConnectionError | TimeoutError):
        return DeviceError(
            "--ray auto: this machine does not belong to a Ray cluster that answers.",
            hint="Start a cluster (ray start --head), join one (ray start --address HOST:PORT), or use --ray local:N.",
        )
    return DeviceError(
        f"--ray {address.text}: the cluster cannot be used from this machine: {reason}",
        hint="This machine must be a node of the cluster: run `ray start --address HOST:PORT` here, with the same versions of "
        "Python and Ray.",
    )


class _FilteredOutput:
    """Standard output without the messages of Ray's threads about dead processes, which a search reports itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if threading.current_thread().name.startswith("ray_") else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    filtered: Any = _FilteredOutput(sys.stdout)
    with contextlib.redirect_stdout(filtered):
        yield
