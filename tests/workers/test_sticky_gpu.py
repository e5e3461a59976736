"""Errors that leave a process without its GPU end their worker, and the message keeps the cause."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest
from fake_gpus import FakeMachine
from gpu_tasks import ASSERT, gpus_in_use, set_sticky_error

from probe.errors import UserCodeError
from probe.workers.death import WorkerDied
from probe.workers.worker import Worker

Make = Callable[..., FakeMachine]
ILLEGAL_ADDRESS, LAUNCH_FAILURE = 700, 719
MISALIGNED, HARDWARE_STACK, ECC = 716, 714, 214
INVALID_CONFIGURATION, OUT_OF_MEMORY = 9, 2


def _fail(error: int, is_sticky: bool) -> None:
    import torch

    tensor = torch.ones(4, device="cuda")
    ctypes.CDLL(None).fake_fail_launch_after(ctypes.c_long(0), error, int(is_sticky))
    (tensor + 1).sum()


def _swallow() -> str:
    try:
        _fail(ASSERT, is_sticky=True)
    except RuntimeError:
        return "no error is seen"
    return "none"


def _assert_late(error: Exception) -> None:
    """The GPU asserts, and a library or the task's own check says something else."""
    import torch

    torch.ones(4, device="cuda")
    set_sticky_error()
    raise error


def _works() -> float:
    import torch

    return float(torch.tensor(1.0).to("cuda").item())


@pytest.mark.parametrize("error", [ASSERT, ILLEGAL_ADDRESS, LAUNCH_FAILURE, MISALIGNED, HARDWARE_STACK, ECC])
def test_a_sticky_error_ends_its_worker(error: int, fake_machine: Make) -> None:
    worker = fake_machine().worker()
    with pytest.raises(UserCodeError, match="CUDA error") as raised:
        worker.call(_fail, error, is_sticky=True)
    assert "(tensor + 1)" in raised.value.traceback
    assert "--device cpu" in (raised.value.hint or "")
    assert worker.is_spent
    with pytest.raises(WorkerDied):
        worker.call(_works)


@pytest.mark.parametrize("error", [INVALID_CONFIGURATION, OUT_OF_MEMORY])
def test_a_worker_survives_other_errors(error: int, fake_machine: Make) -> None:
    worker = fake_machine().worker()
    with pytest.raises(UserCodeError, match="CUDA error") as raised:
        worker.call(_fail, error, is_sticky=False)
    assert raised.value.hint is None
    assert (worker.is_spent, worker.call(_works)) == (False, 1.0)


def test_an_error_that_the_task_swallows_ends_its_worker_too(fake_machine: Make) -> None:
    worker = fake_machine().worker()
    assert worker.call(_swallow) == "no error is seen"
    assert worker.is_spent


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle)`"),
        ValueError("outputs are not finite"),
    ],
)
def test_the_message_names_the_cause_behind_other_errors(error: Exception, fake_machine: Make) -> None:
    with pytest.raises(UserCodeError) as raised:
        fake_machine().worker().call(_assert_late, error)
    assert raised.value.message == f"{type(error).__name__}: {error} (CUDA error: device-side assert triggered)"


def _classify_after_assert() -> str | None:
    import torch

    from probe.device.failures import classify_failure

    error = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    torch.ones(4, device="cuda")
    assert classify_failure(error) == "oom"
    set_sticky_error()
    return classify_failure(error)


def test_libraries_that_cannot_allocate_on_a_lost_gpu_are_no_lack_of_memory(fake_machine: Make) -> None:
    assert fake_machine().call(_classify_after_assert) is None


def _contexts_after_asking() -> tuple[str | None, list[int]]:
    import torch

    from probe.system.gpu_errors import sticky_gpu_error

    assert sticky_gpu_error() is None
    torch.ones(4, device="cuda:1")
    return sticky_gpu_error(), gpus_in_use()


def test_asking_creates_no_context(fake_machine: Make) -> None:
    assert fake_machine(count=3).call(_contexts_after_asking) == (None, [1])


def test_a_worker_without_a_gpu_is_not_spent() -> None:
    with Worker() as worker:
        assert worker.call(abs, -1) == 1
        assert not worker.is_spent
