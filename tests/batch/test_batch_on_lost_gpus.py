"""`probe batch` on machines with fake GPUs: errors that leave a process without its GPU, and GPUs other than the first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_tools import read_result
from fake_gpus import FakeMachine
from gpu_tasks import asserting, seen_by, watched_on

import probe
from probe.errors import UserCodeError

Make = Callable[..., FakeMachine]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(Path(__file__).parents[1] / "support" / "gpu_tasks.py", tmp_path)
    return tmp_path


def test_the_message_keeps_the_cause(fake_machine: Make, folder: Path) -> None:
    done = fake_machine().run("batch", "--task", "gpu_tasks:asserting", "--device", "cuda", "--quiet", cwd=folder)
    assert done.returncode == 3
    for text in ("(CUDA error: device-side assert triggered)", "gpu_tasks.py", "--device cpu"):  # cuBLAS reports it
        assert text in done.stderr
    # Each size was tried in a process of its own.
    assert len({attempt["batch_size"] for attempt in read_result(folder)["attempts"]}) > 1


def _find_in_this_process() -> tuple[str, str | None, int]:
    with pytest.raises(UserCodeError) as raised:
        probe.find_batch_size(asserting(), device="cuda", in_process=True, predict=False, max=64)
    return raised.value.message, raised.value.hint, len(raised.value.result.attempts)


def test_this_process_cannot_go_on_after_a_sticky_error(fake_machine: Make) -> None:
    message, hint, num_attempts = fake_machine().call(_find_in_this_process)
    assert message.endswith("(CUDA error: device-side assert triggered)")
    assert "a process cannot use the GPU any more" in (hint or "")
    assert num_attempts == 1


@pytest.mark.parametrize("visible", [None, "2,0"])
def test_a_second_gpu_is_used_alone(visible: str | None, fake_machine: Make, folder: Path) -> None:
    machine = watched_on(fake_machine(count=3, **({} if visible is None else {"visible": visible})), folder)
    done = machine.run("batch", "--task", "gpu_tasks:watched", "--device", "cuda:1", "--max", "32", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert read_result(folder)["meta"]["device"] == "Fake GPU (cuda:1)"
    assert seen_by(folder) == {(1, (0,))}


def test_a_gpu_that_does_not_exist_is_named(fake_machine: Make, folder: Path) -> None:
    done = fake_machine(count=2).run("batch", "--task", "gpu_tasks:plain", "--device", "cuda:7", cwd=folder)
    assert (done.returncode, "There is no cuda:7 here" in done.stderr) == (4, True)
