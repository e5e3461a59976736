"""A Ray cluster to run a search on: found, or started for it."""

from __future__ import annotations

import contextlib
import importlib.util
import io
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
"""For a head to take a connection, and to answer on it: less than ten together."""
_WORKER_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONSAFEPATH": "1"}
"""Waiting threads that spin would take the cores from other workers; a folder named probe in the user's is not ours."""


def check_ray() -> None:
    """Raise DeviceError where the package is missing."""
    if importlib.util.find_spec("ray") is None:
        raise DeviceError(
            "--ray needs the package ray, which is not installed here.", hint="pip install 'torch-probe[ray]'"
        )


@contextlib.contextmanager
def connected(address: RayAddress, *, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Be a driver of the cluster inside; one that was started for `local:N` ends with it. `environment`: of the workers.

    Raises DeviceError: no Ray, nothing that answers within ten seconds, or a cluster of another version.
    """
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
            # "local": without it, a cluster that runs on this machine already would be taken.
            options |= {"address": "local", "num_cpus": address.num_local, "include_dashboard": False}
            os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would let any other program starve the search
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
            raise _not_connected(address, error) from None
        try:
            yield
        finally:
            ray.shutdown()


def _check_answers(address: RayAddress) -> None:
    """Ray itself would try for a minute, and print. Its own `ray health-check` is asked, in a process that can be ended."""
    if address.num_local is not None:
        return
    place = address.host_and_port
    if place is not None:
        try:
            socket.create_connection(place, timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise _silent(address, str(error)) from None
    asked = [] if place is None else ["--address", address.text]
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "ray.scripts.scripts", "health-check", *asked],
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        if place is None:
            raise _not_connected(address, TimeoutError()) from None
        raise _silent(address, "what listens there does not speak as Ray does") from None
    if done.returncode != 0 and "InvalidAuthToken" in done.stderr:
        raise DeviceError(
            f"--ray {address.text}: the cluster asks for a token, and this machine shows none, or another.",
            hint="Copy ~/.ray/auth_token of the head to this machine, and: export RAY_AUTH_MODE=token",
        )
    if done.returncode != 0 and "version mismatch" in done.stderr:
        raise _not_connected(address, RuntimeError(last_line(done.stderr)))
    if done.returncode != 0 and place is None:
        raise _not_connected(address, ConnectionError(done.stderr))
    if done.returncode != 0:
        raise _silent(address, last_line(done.stderr) or "no answer")


def _silent(address: RayAddress, why: str) -> DeviceError:
    port = (address.host_and_port or ("", 6379))[1]
    return DeviceError(
        f"--ray {address.text}: no Ray cluster answers there ({why}).",
        hint=f"Start one with `ray start --head --port {port}` on that machine; `ray status` there shows whether it runs.",
    )


def _not_connected(address: RayAddress, error: Exception) -> DeviceError:
    said = " ".join(str(error).split())
    if address.text == "auto" and isinstance(error, ConnectionError | TimeoutError):
        return DeviceError(
            "--ray auto: this machine is part of no Ray cluster that answers.",
            hint="Start one (ray start --head), join one (ray start --address HOST:PORT), or take --ray local:N.",
        )
    return DeviceError(
        f"--ray {address.text}: the cluster cannot be used from here: {said}",
        hint="The machine that searches must be a node of it: run `ray start --address HOST:PORT` here, with the same "
        "versions of Python and Ray.",
    )


class _WithoutRay(io.TextIOBase):
    """Standard output, but for what Ray's own threads print there about processes that died: searches expect that, and say
    it themselves, and whoever reads JSON from standard output expects nothing else on it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if threading.current_thread().name.startswith("ray_") else self._stream.write(text)

    @property
    def closed(self) -> bool:
        return self._stream.closed

    @property
    def encoding(self) -> str:  # type: ignore[override]  # an attribute there; as a property it is the stream's own
        return self._stream.encoding

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(_WithoutRay(sys.stdout)):
        yield
