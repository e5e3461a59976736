"""The fake driver itself: PyTorch finds the GPUs that a test asks for, and memory is exact."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fake_gpus import DRIVER_FOLDER, FakeMachine, build_problem

MIB = 2**20
Make = Callable[..., FakeMachine]


def _devices() -> list[tuple[str, int, tuple[int, int]]]:
    import torch

    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [(gpu.name, gpu.total_memory, (gpu.major, gpu.minor)) for gpu in found]


def test_pytorch_finds_the_gpus_of_the_machine(fake_machine: Make) -> None:
    machine = fake_machine(count=2, mib=2048, name="Tesla T4", capability=75)
    assert machine.call(_devices) == [("Tesla T4", 2048 * MIB, (7, 5))] * 2
    assert len(fake_machine(count=2, visible="1").call(_devices)) == 1


def _step_peak_bytes() -> tuple[int, int]:
    """Peak of a step of a linear layer, and its largest possible value by hand."""
    import torch

    layer, batch = torch.nn.Linear(1024, 1024, bias=False, device="cuda"), torch.empty(2048, 1024, device="cuda")
    before = torch.cuda.memory_allocated()
    layer(batch).sum().backward()
    torch.cuda.synchronize()
    return before, torch.cuda.memory_allocated() - before


def test_memory_is_exact(fake_machine: Make) -> None:
    parameters_and_batch, kept = fake_machine().call(_step_peak_bytes)
    assert parameters_and_batch == 4 * (1024 * 1024 + 2048 * 1024)
    workspace = kept - 4 * 1024 * 1024  # the gradient, and what cuBLAS keeps
    assert 0 < workspace < 64 * MIB


def _fill() -> str:
    import torch

    try:
        torch.empty(3 * 2**30, dtype=torch.uint8, device="cuda")
    except torch.OutOfMemoryError as error:
        return str(error)
    return "fits"


def test_out_of_memory_has_the_text_of_pytorch(fake_machine: Make) -> None:
    message = fake_machine(mib=2048).call(_fill)
    assert message.startswith("CUDA out of memory. Tried to allocate 3.00 GiB. GPU 0 has a total capacity of 2.00 GiB")
    assert fake_machine(mib=4096).call(_fill) == "fits"
    assert fake_machine(mib=2048, spills=2).call(_fill) == "fits"


def _hold(mib: int) -> None:
    import torch

    globals()["held"] = torch.empty(mib * MIB, dtype=torch.uint8, device="cuda")


def _free_mib() -> int:
    import torch

    return int(torch.cuda.mem_get_info()[0]) // MIB


def test_processes_share_a_gpu(fake_machine: Make) -> None:
    machine = fake_machine(mib=4096, context_mib=100)
    first, second = machine.worker(), machine.worker()
    first.call(_hold, 1000)
    assert second.call(_free_mib) == 4096 - 100 - 1000 - 100
    first.close()
    assert second.call(_free_mib) == 4096 - 100


def _assert_on_the_device() -> list[str]:
    import ctypes

    import torch

    tensor = torch.ones(4, device="cuda")
    ctypes.CDLL(None).fake_fail_launch_after(ctypes.c_long(0), 710, 1)
    said = []
    for call in (lambda: tensor + 1, torch.cuda.mem_get_info):
        with pytest.raises(RuntimeError) as caught:
            call()
        said.append(str(caught.value))
    return said


def test_a_device_side_assert_stays(fake_machine: Make) -> None:
    said = fake_machine().call(_assert_on_the_device)
    assert len(said) == 2
    assert all("device-side assert triggered" in text for text in said)


@pytest.mark.parametrize(
    ("file", "code", "cause"),
    [
        ("libraries.c", "#error as in headers that have changed\n", "as in headers that have changed"),
        ("runtime.c", "#define cudaMalloc(a, b) cudaMalloc_of_another_version(a, b)\n", "rror"),
    ],
    ids=["not-built", "does-not-work"],
)
def test_a_pytorch_that_the_driver_does_not_carry_is_named(
    file: str, code: str, cause: str, fake_driver: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(DRIVER_FOLDER, source)
    (source / file).write_text(code + (source / file).read_text())
    problem = build_problem(tmp_path / "driver", source)
    assert problem is not None
    assert f"does not carry PyTorch {torch.__version__}" in problem
    assert cause in problem
