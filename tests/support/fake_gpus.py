"""Machines with fake GPUs: processes whose PyTorch runs under the driver of tests/fake_cuda."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from probe.workers.worker import Worker

REQUIRED = "PROBE_TEST_FAKE_CUDA"
"""Environment variable that makes a driver that cannot be built an error instead of a skip."""
DRIVER_FOLDER = Path(__file__).parents[1] / "fake_cuda"


class GpuUse(NamedTuple):
    """An entry in the state of a machine (`Use` in machine.h)."""

    pid: int
    gpu: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class FakeMachine:
    """One machine. Its processes see the same GPUs and the memory that each of them uses."""

    env: Mapping[str, str]
    stack: ExitStack

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a function in a new process on the machine and return its result. Its exceptions arrive as UserCodeErrors."""
        with Worker(env=self.env, num_threads=1) as worker:
            return worker.call(function, *args, **kwargs)

    def worker(self) -> Worker:
        """A process on the machine that stays until the test ends."""
        return self.stack.enter_context(Worker(env=self.env, num_threads=1))

    def uses(self) -> list[GpuUse]:
        """What each process has used of each GPU until now or its end, in the order in which they started."""
        content = Path(self.env["FAKE_GPU_STATE"]).read_bytes()
        return [GpuUse(*fields) for fields in struct.iter_unpack("iiN", content) if fields[0]]

    def run(self, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run `probe` on the machine."""
        return self.run_module("probe", *args, cwd=cwd)

    def run_module(self, module: str, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a Python module on the machine."""
        return subprocess.run(
            [sys.executable, "-P", "-m", module, *args],
            cwd=cwd,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=300,
        )


@pytest.fixture(scope="session")
def fake_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built driver. Skips the test if it cannot be built here, or does not carry this PyTorch."""
    folder = tmp_path_factory.mktemp("fake_cuda")
    reason = _reason_to_skip() or build_problem(folder)
    if reason is not None:
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set, but {reason}")
        pytest.skip(reason)
    return folder


@pytest.fixture
def fake_machine(fake_driver: Path, tmp_path: Path) -> Iterator[Callable[..., FakeMachine]]:
    """Makes machines: `fake_machine(count=2, mib=2048, nvml="memory")` sets FAKE_GPU_COUNT, FAKE_GPU_MIB and FAKE_NVML."""
    with ExitStack() as stack:
        number = 0

        def make(**settings: object) -> FakeMachine:
            nonlocal number
            number += 1
            env = driver_environment(fake_driver, state=tmp_path / f"machine-{number}")
            own = {"nvml": "FAKE_NVML", "plans_mib": "FAKE_CUDNN_PLANS_MIB", "visible": "CUDA_VISIBLE_DEVICES"}
            env |= {own.get(name, f"FAKE_GPU_{name.upper()}"): str(value) for name, value in settings.items()}
            return FakeMachine(env=env, stack=stack)

        yield make


def driver_environment(folder: Path, *, state: Path) -> dict[str, str]:
    """Environment variables of the processes of a machine whose state is in the file `state`."""
    return {
        "LD_PRELOAD": str(folder / "fakecuda.so"),
        "LD_LIBRARY_PATH": str(folder),
        "FAKE_GPU_STATE": str(state),
    }


_STEP = """
import os, torch
layer = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(72, 2)).cuda()
layer(torch.ones(4, 1, 8, 8, device="cuda")).sum().backward()
torch.cuda.synchronize()
assert torch.cuda.memory_allocated() > 0
os._exit(0)  # at the interpreter's end, a thread of autograd that still holds Python objects would abort the process
"""


def build_problem(folder: Path, source: Path = DRIVER_FOLDER) -> str | None:
    """Build the driver and make a training step under it. Returns why this PyTorch cannot run under it, or None if it can."""
    import torch

    build = [sys.executable, str(source / "build.py"), str(folder)]
    step = [sys.executable, "-c", _STEP]
    environment = {**os.environ, **driver_environment(folder, state=folder / "state")}
    for command, env in ((build, dict(os.environ)), (step, environment)):
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            cause = next((line for line in done.stderr.splitlines() if "rror" in line), f"exit code {done.returncode}")
            return f"the fake CUDA driver does not carry PyTorch {torch.__version__}: {cause}"
    return None


def _reason_to_skip() -> str | None:
    import torch

    if not sys.platform.startswith("linux"):
        return "the fake CUDA driver needs Linux"
    if torch.version.cuda is None:
        return "this PyTorch is built without CUDA"
    missing = [tool for tool in ("gcc", "nm") if shutil.which(tool) is None]
    if missing:
        return f"the fake CUDA driver needs {' and '.join(missing)}"
    site = Path(str(torch.__file__)).parents[1]
    if not list(site.glob("nvidia/cu1*/include/cuda_runtime_api.h")) or find_spec("pynvml") is None:
        return "the headers of CUDA are not installed beside PyTorch"
    return None
