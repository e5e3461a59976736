"""Workers that share GPUs, on machines with the fake driver: memory is that of PyTorch's allocator and of real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from executor_conformance import drain
from fake_gpus import FakeMachine
from known_gpu_memory import LAYER_MIB, gpu_job

from probe.loading.trees import map_tensors
from probe.search.executors.local import LocalExecutor
from probe.search.jobs.jobs import JobEnd, JobEpoch, RungJob, RungReport

MIB = 2**20
CONTEXT_MIB = 200
MakeExecutor = Callable[..., LocalExecutor]


@pytest.fixture
def executor(fake_machine: Callable[..., FakeMachine]) -> Iterator[MakeExecutor]:
    with ExitStack() as stack:

        def make(num_slots: int, *, gpus: Sequence[str] = (), **settings: object) -> LocalExecutor:
            machine = fake_machine(context_mib=CONTEXT_MIB, **settings)
            return stack.enter_context(LocalExecutor(num_slots, num_threads=1, env=machine.env, gpus=gpus))

        yield make


def end_of(executor: LocalExecutor, job: RungJob) -> RungReport:
    executor.submit(job)
    end = drain(executor, num_ends=1)[-1]
    assert isinstance(end, JobEnd)
    return end.report


def test_a_trial_that_fits_alone_is_crowded_beside_an_idle_worker(executor: MakeExecutor) -> None:
    """90 layers take 720 MiB and less than 100 more, and their process a context: with a second context more than there is."""
    shared = executor(2, mib=1020)
    assert LAYER_MIB * 90 + CONTEXT_MIB + 100 == 1020 < LAYER_MIB * 90 + 2 * CONTEXT_MIB
    for number in range(2):
        shared.submit(gpu_job(number))
    reports = [end.report for end in drain(shared, num_ends=2) if isinstance(end, JobEnd)]
    assert {(report.outcome, report.is_crowded) for report in reports} == {("finished", False)}
    assert shared.resources.idle_by_gpu == (2,)
    crowded = end_of(shared, gpu_job(2, 90))
    assert (crowded.outcome, crowded.is_crowded) == ("oom", True)
    alone = end_of(shared, replace(gpu_job(2, 90), needs_room=True))
    assert alone.outcome == "finished"
    assert shared.resources.idle_by_gpu == (1,)
    too_large = end_of(shared, replace(gpu_job(3, 120), needs_room=True))
    assert (too_large.outcome, too_large.is_crowded) == ("oom", False)
    assert end_of(shared, gpu_job(4)).outcome == "finished"


def test_what_a_trial_leaves_in_its_process_crowds_the_next_one(executor: MakeExecutor) -> None:
    one = executor(1, mib=1100)
    left = end_of(one, gpu_job(0, leaves_behind=True))
    assert left.outcome == "finished"
    assert left.held_bytes >= 600 * MIB  # of two steps of training and one of validation
    assert one.resources.held_by_gpu == (left.held_bytes,)
    crowded = end_of(one, gpu_job(1, 40))
    assert (crowded.outcome, crowded.is_crowded) == ("oom", True)
    again = end_of(one, replace(gpu_job(1, 40), needs_fresh_process=True))
    assert again.outcome == "finished"
    assert again.held_bytes < 64 * MIB
    assert end_of(one, gpu_job(2, 40)).outcome == "finished"


def test_a_worker_without_room_for_a_context_is_crowded(executor: MakeExecutor) -> None:
    shared = executor(2, mib=CONTEXT_MIB + 80)
    assert end_of(shared, gpu_job(0, 1)).outcome == "finished"
    idle = shared.resources.idle_by_gpu
    shared.submit(replace(gpu_job(1, 1), max_seconds=100.0))
    second = end_of_other(shared, gpu_job(2, 1))
    assert idle == (1,)
    assert (second.outcome, second.is_crowded) == ("oom", True)
    assert "cannot be used" in (second.message or "")


def end_of_other(executor: LocalExecutor, job: RungJob) -> RungReport:
    """The end of a job beside another one."""
    executor.submit(job)
    ends = [end for end in drain(executor, num_ends=2) if isinstance(end, JobEnd)]
    return next(end.report for end in ends if end.number == job.number)


def test_memory_of_other_programs_is_read_when_a_worker_opens_the_gpu_alone(
    executor: MakeExecutor, tmp_path: Path
) -> None:
    others = tmp_path / "others"
    others.write_text("100")
    shared = executor(2, mib=2000, others_file=others)
    assert not any(shared.resources.offered_by_gpu)
    end_of(shared, gpu_job(0))
    assert list(shared.resources.offered_by_gpu) == [1900 * MIB]
    others.write_text("300")
    shared.submit(gpu_job(1))
    end_of_other(shared, gpu_job(2))  # beside another worker, whose memory would count as that of another program
    assert list(shared.resources.offered_by_gpu) in ([1900 * MIB], [1700 * MIB])
    end_of(shared, replace(gpu_job(3), needs_room=True, needs_fresh_process=True))
    assert list(shared.resources.offered_by_gpu) == [1700 * MIB]


def test_a_trial_that_was_paused_on_one_gpu_continues_on_the_other(executor: MakeExecutor, tmp_path: Path) -> None:
    spread = executor(2, count=2, gpus=("0", "1"))
    saved = tmp_path / "0-1.pt"
    start = replace(gpu_job(0), params={**gpu_job(0).params, "optimizer": "adamw"}, gpu=0, checkpoint_out=saved)
    assert end_of(spread, start).outcome == "finished"
    state = torch.load(saved, weights_only=True)["state"]
    tensors: list[torch.Tensor] = []
    map_tensors(tensors.append, (state["model"], state["optimizer"]))
    assert len(tensors) >= 2 * 3  # weights and two moments of each layer
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
    rest = replace(start, gpu=1, epochs_from=1, epochs_to=2, checkpoint_in=saved, checkpoint_out=None)
    spread.submit(rest)
    assert spread.places() == {0: "cuda:1"}
    *epochs, end = drain(spread, num_ends=1)
    assert isinstance(end, JobEnd)
    assert (end.report.outcome, end.report.message) == ("finished", None)
    assert [epoch.report.epoch for epoch in epochs if isinstance(epoch, JobEpoch)] == [2]
