"""`probe lr` on machines with fake GPUs: in a child process, on any GPU, and after errors that leave a process without it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_tools import read_result
from fake_gpus import FakeMachine
from gpu_tasks import LOWEST_BAD_LR, asserting_at_high_lrs, seen_by, watched_on

import probe
from probe.lr.records import LrResult
from probe.lr.suggest import suggest
from probe.records_json import from_plain

Make = Callable[..., FakeMachine]
STEPS = 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(Path(__file__).parents[1] / "support" / "gpu_tasks.py", tmp_path)
    return tmp_path


def run_lr(machine: FakeMachine, folder: Path, task: str, *args: str, device: str = "cuda") -> Any:
    options = ["--task", f"gpu_tasks:{task}", "--steps", str(STEPS), "--device", device, "--quiet"]
    return machine.run("lr", *options, *args, cwd=folder)


def measured(machine: FakeMachine, folder: Path, *args: str, device: str = "cuda") -> LrResult:
    done = run_lr(machine, folder, *args, device=device)
    assert done.returncode == 0, done.stderr
    return from_plain(LrResult, read_result(folder))


def test_errors_at_high_learning_rates_end_range_tests(fake_machine: Make, folder: Path) -> None:
    result = measured(fake_machine(), folder, "asserting_at_high_lrs", "--repeats", "2", "--confirm")
    assert len(result.curves) == 2  # the second one in a new process
    for curve in result.curves:
        assert curve.ended_by == "raised"
        assert curve.raised is not None
        assert "device-side assert triggered" in curve.raised.error
        assert LOWEST_BAD_LR <= curve.raised.lr < 2 * LOWEST_BAD_LR
        assert curve.raised.was_checked
        assert (curve.points[0].loss, curve.points[-1].loss) == (2.0, 0.5)
        assert curve.points[-1].lr < LOWEST_BAD_LR
    found, _ = suggest(result.curves, num_steps=STEPS)
    assert found is not None
    assert found.lr == pytest.approx(0.02, rel=0.5)  # nine tenths of the drop
    assert result.confirmation is not None
    assert len(result.confirmation.runs) == 5
    assert (result.stopped_by, result.meta.device) == ("finished", "Fake GPU (cuda:0)")
    assert any("--device cpu" in warning for warning in result.warnings)


def test_an_error_at_the_first_step_is_one_of_the_task(fake_machine: Make, folder: Path) -> None:
    done = run_lr(fake_machine(), folder, "asserting")
    assert done.returncode == 3
    for text in ("Training gpu_tasks:asserting raised", "device-side assert triggered", "gpu_tasks.py", "--device cpu"):
        assert text in done.stderr
    assert "loading state_dict" not in done.stderr


def test_running_out_of_memory_in_the_child_is_no_bug(fake_machine: Make, folder: Path) -> None:
    done = run_lr(fake_machine(mib=600, context_mib=100), folder, "large")
    assert done.returncode == 5
    assert "does not fit into memory: CUDA out of memory" in done.stderr


@pytest.mark.parametrize("visible", [None, "2,0"])
def test_a_second_gpu_is_used_alone(visible: str | None, fake_machine: Make, folder: Path) -> None:
    machine = fake_machine(count=3, **({} if visible is None else {"visible": visible}))
    result = measured(watched_on(machine, folder), folder, "watched", "--confirm", device="cuda:1")
    assert result.meta.device == "Fake GPU (cuda:1)"
    assert seen_by(folder) == {(1, (0,))}


def _find_in_this_process(**options: Any) -> LrResult:
    return probe.find_lr(asserting_at_high_lrs(), device="cuda", steps=STEPS, in_process=True, **options)


@pytest.mark.parametrize("options", [{"repeats": 2}, {"confirm": True}], ids=["repeats", "confirm"])
def test_this_process_cannot_go_on_after_a_sticky_error(options: dict[str, Any], fake_machine: Make) -> None:
    result = fake_machine().call(_find_in_this_process, **options)
    assert [curve.ended_by for curve in result.curves] == ["raised"]
    assert result.curves[0].raised is not None
    assert not result.curves[0].raised.was_checked
    assert result.suggestion is not None
    assert (result.stopped_by, result.depth, result.confirmation) == ("finished", "range_test", None)
    assert any("this process cannot use the GPU any more" in warning for warning in result.warnings)


def _find_on_second_gpu() -> tuple[str, list[int], bool]:
    import torch
    from gpu_tasks import gpus_in_use, plain

    task, before = plain(), torch.get_rng_state()
    result = probe.find_lr(task, device="cuda:1", steps=STEPS, in_process=True)
    return result.meta.device, gpus_in_use(), torch.equal(before, torch.get_rng_state())


def test_this_process_uses_only_the_second_gpu(fake_machine: Make) -> None:
    assert fake_machine(count=2).call(_find_on_second_gpu) == ("Fake GPU (cuda:1)", [1], True)
