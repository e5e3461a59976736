"""GPUs without a module of their own, on machines with the fake driver, where PyTorch's accelerator is CUDA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fake_gpus import FakeMachine

from probe.batch.records import BatchResult
from probe.device.protocol import GpuReport
from probe.report.batch.page import batch_page
from probe.report.batch.sentences import batch_warnings

Make = Callable[..., FakeMachine]
MIB = 2**20


def _open_generically() -> None:
    from dataclasses import replace

    from probe.device import select

    select.KINDS["cuda"] = replace(select.KINDS["cuda"], module="probe.device.accelerator")


def _without_memory_statistics() -> None:
    """The errors of MPS devices in older versions of PyTorch."""
    import torch

    def fails(*_: object) -> None:
        raise RuntimeError("Allocator for mps is not a DeviceAllocator.")

    for name in ("memory_stats", "get_memory_info", "reset_peak_memory_stats", "empty_cache"):
        setattr(torch.accelerator, name, fails)


def _sweep(*, counts_memory: bool) -> BatchResult:
    """A sweep that ends in an out-of-memory error."""
    import torch

    import probe

    _open_generically()
    if not counts_memory:
        _without_memory_statistics()
    task = probe.Task(
        model=lambda: torch.nn.Linear(MIB, 2),
        train=_data(),
        loss=torch.nn.functional.cross_entropy,
    )
    return probe.find_batch_size(task, device="cuda", in_process=True, confirm_steps=0, predict=False, max=512)


def _data() -> Any:
    import torch

    class Samples(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 1024

        def __getitem__(self, index: int) -> Any:
            return torch.empty(MIB), 0

    return Samples()


def test_a_sweep_measures_memory_where_pytorch_counts_it(fake_machine: Make) -> None:
    result = fake_machine(mib=1024).call(_sweep, counts_memory=True)
    assert result.largest_fit == 64
    assert result.device_memory is not None
    assert all(attempt.memory is not None for attempt in result.attempts if attempt.fits)
    assert [text for text in batch_warnings(result) if "not been tested on real CUDA devices" in text]


def test_a_sweep_says_that_errors_alone_decided_where_pytorch_counts_nothing(fake_machine: Make) -> None:
    result = fake_machine(mib=1024).call(_sweep, counts_memory=False)
    assert result.largest_fit == 64
    assert (result.device_memory, result.limit_bytes) == (None, None)
    assert all(attempt.memory is None for attempt in result.attempts)
    assert [text for text in batch_warnings(result) if "decided by errors alone" in text]
    assert "decided by errors alone" in batch_page(result, [])


def _listed() -> tuple[tuple[GpuReport, ...], str]:
    from probe.device.select import list_gpus, open_device, parse_device
    from probe.errors import DeviceError

    _open_generically()
    try:
        open_device(parse_device("cuda", memory="1GiB"), measuring_memory=True)
    except DeviceError as error:
        return list_gpus(), f"{error.message} {error.exit_code}"
    return list_gpus(), "opened"


def test_they_are_listed_as_untested_and_refuse_a_limit(fake_machine: Make) -> None:
    gpus, refusal = fake_machine(count=2).call(_listed)
    assert [(gpu.device, gpu.name, gpu.total_bytes, gpu.untested) for gpu in gpus] == [
        (f"cuda:{index}", "Fake GPU", None, "CUDA devices") for index in range(2)
    ]
    assert refusal.startswith("cuda:0 cannot be limited to 1.00 GiB")
    assert refusal.endswith(" 4")
