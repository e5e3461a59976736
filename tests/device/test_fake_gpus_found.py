"""Which GPUs a machine is said to have, on machines with the fake driver."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_gpus import FakeMachine

Make = Callable[..., FakeMachine]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["cuda:0 Fake GPU, 8.00 GiB, 8.00 GiB free"]),
        (
            {"count": 2, "name": "Tesla T4", "capability": 75},
            ["cuda:0 Tesla T4, 8.00 GiB", "cuda:1 Tesla T4, 8.00 GiB"],
        ),
        ({"mig_instances": 2}, ["cuda:0 Fake GPU, 8.00 GiB"]),
        ({"nvml": "init"}, ["cuda:0 Fake GPU, 8.00 GiB", "NVML      not available"]),
        ({"capability": 61, "name": "GTX 1080"}, ["cuda:0 GTX 1080", "cannot be used: it has compute capability 6.1"]),
        ({"others_mib": 3072}, ["cuda:0 Fake GPU, 8.00 GiB, 5.00 GiB free"]),
        ({"init_error": 35}, ["none that PyTorch can use", "driver"]),
    ],
    ids=["one", "two", "mig", "no-nvml", "too-old", "others", "old-driver"],
)
def test_devices_shows_the_gpus(
    settings: dict[str, object], expected: list[str], fake_machine: Make, tmp_path: Path
) -> None:
    done = fake_machine(**settings).run("devices", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for text in expected:
        assert text in done.stdout


def _rows_on_rocm() -> dict[str, str]:
    """What `probe devices` shows where PyTorch says that it is built for ROCm. The calls to the driver are those of CUDA."""
    import torch

    from probe.cli.commands.devices import environment_rows
    from probe.device.environment import describe_environment

    torch.version.hip, torch.version.cuda = "6.4.1", None
    rows: dict[str, str] = {}
    name = ""
    for label, text in environment_rows(describe_environment()):
        name = label or name
        rows[name] = f"{rows.get(name, '')} {text}"
    return rows


def test_a_rocm_build_is_said_to_be_untested(fake_machine: Make) -> None:
    rows = fake_machine(nvml="init").call(_rows_on_rocm)
    assert "cuda:0 Fake GPU, 8.00 GiB; untested" in rows["GPU"]
    assert "not been tested on real AMD GPUs (ROCm 6.4.1)" in rows["Note"]
    assert "not available" in rows["NVML"]
    assert "6.4.1" in rows["ROCm"]
    rows = fake_machine(init_error=100).call(_rows_on_rocm)
    assert "this PyTorch (for ROCm 6.4.1) finds no GPU" in rows["Note"]


def test_a_gpu_without_kernels_is_not_chosen(fake_machine: Make, tmp_path: Path) -> None:
    for device in ("cuda", "cuda:0"):
        done = fake_machine(capability=61).run("lr", "--model", "mlp", "--device", device, cwd=tmp_path)
        assert done.returncode == 4
        assert "compute capability 6.1" in done.stderr
    done = fake_machine(count=2).run("lr", "--model", "mlp", "--device", "cuda:9", cwd=tmp_path)
    assert (done.returncode, "Available: cuda:0 (Fake GPU), cuda:1 (Fake GPU)" in done.stderr) == (4, True)


@pytest.mark.parametrize(
    ("settings", "args", "words"),
    [
        ({}, ["--device", "cuda", "--memory", "100GiB"], ["cannot emulate a GPU of 100 GiB", "it has 8.00 GiB"]),
        ({}, ["--device", "cuda", "--memory", "400MiB"], ["cannot emulate a GPU of 400 MiB", "uses 450 MiB"]),
        ({"count": 2}, ["--device", "cuda:9"], ["no cuda:9 here", "cuda:0 (Fake GPU), cuda:1 (Fake GPU)"]),
        ({"init_error": 35}, ["--device", "cuda"], ["no CUDA device here", "driver"]),
        ({"visible": "7"}, ["--device", "cuda"], ["no CUDA device here", "CUDA_VISIBLE_DEVICES is '7'"]),
        ({"others_mib": 8000}, ["--device", "cuda"], ["cuda:0 exists but cannot be used", "Another program"]),
        (
            {"launch_error": 209},
            ["--device", "cuda:0"],
            ["cuda:0 exists but cannot be used: CUDA error: no kernel image"],
        ),
        ({}, ["--device", "xpu"], ["no XPU device here", "built without XPU"]),
        ({}, ["--device", "hpu"], ["'hpu'", "xpu, xpu:N, mps, mps:N"]),
    ],
    ids=["above", "below", "index", "no-driver", "hidden", "full", "no-kernels", "xpu", "hpu"],
)
def test_a_device_that_cannot_be_used_is_refused_with_the_reason(
    settings: dict[str, object], args: list[str], words: list[str], fake_machine: Make, tmp_path: Path
) -> None:
    done = fake_machine(**settings).run("batch", "--model", "mlp", "--img", "8", *args, cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    for text in words:
        assert text in done.stderr


RECIPE = """
schema = 1
name = "small"
[task]
model = "mlp"
data = "digits"
objective = { metric = "loss", mode = "min" }
[space]
batch_size = 64
lr = 1e-3
precision = "bf16"
width = { choices = [4, 8] }
[search]
fidelity = { min = 1, max = 1 }
[budget]
trials = 1
"""


@pytest.mark.parametrize(
    "args",
    [
        ["batch", "--model", "mlp", "--precision", "bf16", "--max", "1"],
        ["lr", "--model", "mlp", "--precision", "bf16", "--steps", "30"],
        ["train", "small.toml", "--set", "space.width=4"],
        ["search", "small.toml"],
    ],
    ids=lambda args: args[0],
)
def test_a_precision_that_the_gpu_emulates_is_a_warning_of_every_report(
    args: list[str], fake_machine: Make, tmp_path: Path
) -> None:
    (tmp_path / "small.toml").write_text(RECIPE, encoding="utf-8")
    machine = fake_machine(name="Tesla T4", capability=75)
    done = machine.run(*args, "--device", "cuda", cwd=tmp_path)
    assert "Tesla T4 has no bf16 arithmetic" in " ".join(done.stdout.split()), done.stdout + done.stderr
