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


def test_a_gpu_without_kernels_is_not_chosen(fake_machine: Make, tmp_path: Path) -> None:
    for device in ("cuda", "cuda:0"):
        done = fake_machine(capability=61).run("lr", "--model", "mlp", "--device", device, cwd=tmp_path)
        assert done.returncode == 4
        assert "compute capability 6.1" in done.stderr
    done = fake_machine(count=2).run("lr", "--model", "mlp", "--device", "cuda:9", cwd=tmp_path)
    assert (done.returncode, "Available: cuda:0 (Fake GPU), cuda:1 (Fake GPU)" in done.stderr) == (4, True)
