"""Ways to train side by side: which ones, where their sweeps start, what an error or Ctrl-C leaves, and the data loader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_gpus import FakeMachine
from made_records import batch_result
from scripted_device import ScriptedDevice, ScriptedRunner
from torch import nn
from torch.utils.data import Dataset, get_worker_info

from probe.batch.comparison import task_look
from probe.batch.comparison.task_look import look_at_task
from probe.batch.comparison.variants import compare_variants, largest_known, other_variants
from probe.batch.find import find_batch_size
from probe.batch.records import BatchComparison, LoaderSpeed, Variant, VariantSettings
from probe.batch.sweep import SweepOptions
from probe.batch.task_samples import rank_samples
from probe.device.select import DeviceSpec
from probe.errors import UserCodeError
from probe.task import Task
from probe.tasks.source import as_source

PLAIN = VariantSettings(activation_checkpointing=True)
Make = Callable[..., FakeMachine]


class Images(Dataset[Any]):
    """Images that are made one by one."""

    def __init__(self, num_samples: int = 24) -> None:
        self.num_samples = num_samples

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((1, 4, 4), float(index)), index % 2


class FailsInWorkers(Images):
    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if get_worker_info() is not None:
            raise OSError("the archive is open in another process")
        return super().__getitem__(index)


def small_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))


class NotInBf16(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("no kernel for bf16")
        return torch.as_tensor(self.net(images))


def compare(task: Task, **options: Any) -> BatchComparison:
    return compare_variants(task, device="simulated:10MiB", in_process=True, max=4, **options)


@pytest.fixture(autouse=True)
def _short_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_look, "MAX_SECONDS", 0.01)


@pytest.mark.parametrize(
    ("kind", "has_convolutions", "modes"),
    [
        ("cuda", True, ["tf32", "bf16", "bf16 + channels_last", "bf16 + channels_last + compile"]),
        ("cuda", False, ["tf32", "bf16", "bf16 + compile"]),
        ("simulated", True, ["bf16", "bf16 + channels_last"]),
        ("simulated", False, ["bf16"]),
        ("auto", True, ["bf16"]),
    ],
)
def test_the_device_and_the_model_decide_which_variants_there_are(
    kind: str, has_convolutions: bool, modes: list[str]
) -> None:
    info = replace(
        ScriptedRunner(ScriptedDevice()).open(),
        device=DeviceSpec(kind=kind),
        device_problem="there is no driver" if kind == "auto" else None,
    )
    found = other_variants(PLAIN, info, has_convolutions=has_convolutions)
    assert [settings.mode for settings in found] == modes
    assert all(settings.activation_checkpointing for settings in found)


def test_variants_on_the_cpu_start_where_the_one_before_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ranked: list[Task] = []

    def counted(task: Task, **options: Any) -> Any:
        ranked.append(task)
        return rank_samples(task, **options)

    monkeypatch.setattr("probe.batch.task_samples.rank_samples", counted)
    titles: list[str] = []
    found = compare(Task(model=small_net, train=Images(), batch_size=2), start=1, begin=titles.append)
    assert [variant.mode for variant in found.variants] == ["fp32", "bf16", "bf16 + channels_last"]
    assert titles == ["fp32", "data loader", "bf16", "bf16 + channels_last"]
    assert (found.stopped_by, found.task) == ("finished", "task")
    assert [variant.result.attempts[0].batch_size for variant in found.variants] == [1, 4, 4]
    assert [variant.result.prediction_info is None for variant in found.variants] == [False, True, True]
    assert all(variant.result.largest_fit == 4 for variant in found.variants)
    assert all(attempt.host_seconds is None for v in found.variants for attempt in v.result.attempts)
    assert len(ranked) == 1


def test_the_first_sweep_starts_the_second_at_one_if_nothing_fits() -> None:
    nothing, something = batch_result(largest_fit=None, recommended=None), batch_result()
    assert largest_known([Variant(result=nothing)]) == 1
    assert largest_known([Variant(result=something), Variant(result=nothing)]) == something.largest_fit


def test_a_variant_that_cannot_be_trained_is_a_row_with_its_reason() -> None:
    found = compare(Task(model=NotInBf16, train=Images()))
    assert found.stopped_by == "finished"
    assert [variant.result.largest_fit for variant in found.variants] == [4, None, None]
    assert [variant.failure and "no kernel for bf16" in variant.failure for variant in found.variants] == [
        None,
        True,
        True,
    ]


def test_a_task_that_cannot_be_trained_at_all_is_an_error_with_its_result() -> None:
    with pytest.raises(UserCodeError) as raised:
        compare(Task(model=lambda: nn.Linear(3, 2), train=Images()))
    assert raised.value.result.stopped_by == "error"
    assert [variant.mode for variant in raised.value.result.variants] == ["fp32"]


@pytest.mark.parametrize(("interrupted_call", "num_variants"), [(1, 1), (2, 2)])
def test_ctrl_c_keeps_the_variants_before_it(
    interrupted_call: int, num_variants: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def is_interrupted(*args: Any, **options: Any) -> Any:
        calls.append(len(calls))
        if calls[-1] == interrupted_call:
            raise KeyboardInterrupt
        return find_batch_size(*args, **options)

    monkeypatch.setattr("probe.batch.comparison.comparison.find_batch_size", is_interrupted)
    found = compare(Task(model=small_net, train=Images()))
    assert (found.stopped_by, len(found.variants)) == ("interrupted", num_variants)
    assert [speed.num_workers for speed in found.loader] == [0]  # workers would not help: the samples are read quickly


def test_ctrl_c_while_the_loader_is_read_keeps_the_first_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(task_look, "_measured", interrupted)
    found = compare(Task(model=small_net, train=Images()))
    assert (found.stopped_by, [variant.mode for variant in found.variants]) == ("interrupted", ["fp32"])
    assert found.loader == ()


def test_a_sweep_with_a_given_number_of_curve_sizes_times_no_more() -> None:
    task = Task(model=small_net, train=Images(64))
    options: dict[str, Any] = {"device": "simulated:10MiB", "in_process": True, "confirm_steps": 0, "predict": False}
    found = find_batch_size(task, start=64, options=SweepOptions(curve_sizes=2), **options)
    assert [attempt.batch_size for attempt in found.attempts] == [64, 32]


def look(task: Task) -> list[LoaderSpeed]:
    seen: list[LoaderSpeed] = []
    found = look_at_task(as_source(task), {}, batch_size=4, in_process=True, env={}, begin=None, announce=seen.append)
    assert list(found.loader) == seen
    return seen


def test_a_loader_is_read_without_and_with_its_workers() -> None:
    speeds = look(Task(model=small_net, train=Images(), num_workers=1))
    assert [speed.num_workers for speed in speeds] == [0, 1]
    assert [speed.failure for speed in speeds] == [None, None]
    assert all(speed.num_batches >= 1 and speed.samples_per_second for speed in speeds)


def test_an_error_in_the_workers_is_part_of_the_record() -> None:
    alone, with_workers = look(Task(model=small_net, train=FailsInWorkers(), num_workers=1))
    assert alone.samples_per_second
    assert with_workers.samples_per_second is None
    assert with_workers.failure is not None
    assert "the archive is open" in with_workers.failure


def test_tensors_have_no_loader() -> None:
    assert look(Task(model=lambda: nn.Linear(4, 2), train=(torch.zeros(8, 4), torch.zeros(8).long()))) == []


def test_looking_at_a_task_draws_no_random_numbers_of_this_process() -> None:
    before = torch.get_rng_state()
    look(Task(model=small_net, train=Images()))
    assert torch.equal(torch.get_rng_state(), before)


def _on_gpu() -> BatchComparison:
    torch.manual_seed(0)
    task = Task(model=small_net, train=(torch.randn(16, 1, 4, 4), torch.zeros(16).long()))
    return compare_variants(task, device="cuda", in_process=True, max=4)


def test_a_gpu_has_a_row_for_each_way_to_train(fake_machine: Make) -> None:
    """The fake GPU takes 5 ms for each kernel, more than the host needs to queue it. Triton does not work there."""
    found = fake_machine(launch_us=5000, mib=1024).call(_on_gpu)
    assert [variant.mode for variant in found.variants] == [
        "fp32",
        "tf32",
        "bf16",
        "bf16 + channels_last",
        "bf16 + channels_last + compile",
    ]
    *measured, compiled = found.variants
    for variant in measured:
        assert (variant.result.largest_fit, variant.failure) == (4, None)
        for attempt in variant.result.attempts:
            assert attempt.host_seconds is not None
            assert attempt.step_seconds is not None
            assert attempt.host_seconds < attempt.step_seconds / 2
    assert compiled.failure is not None
    assert "compile" in compiled.failure
    assert found.stopped_by == "finished"
