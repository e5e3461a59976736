"""Choosing a GPU for each trial: pure decisions, and whole studies on the scripted executor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_slots import CONTEXT_BYTES, GIB, PEAKS, PredictingExecutor, make_packer
from made_studies import ACCURACY, QUALITY
from scripted_executor import ScriptedExecutor, make_job

from probe.device.select import DeviceSpec
from probe.search.executors.gpu_packing import PackedTrial, make_gpu_packer
from probe.search.executors.slots import (
    MARGIN,
    GpuChoice,
    GpuLoad,
    can_start,
    choose_gpu,
    device_title,
    spread_slots,
)
from probe.search.jobs.jobs import RungJob
from probe.search.records.search import BudgetLimits, SearchProgress
from probe.search.samplers.registry import make_sampler
from probe.search.study.plan import StudyHooks, StudyPlan, new_state
from probe.search.study.study import Study
from probe.search.study.trial import Trial
from probe.tasks.source import TargetSource

LOADS = st.builds(
    GpuLoad,
    limit_bytes=st.integers(1, 80 * GIB),
    running_peaks=st.lists(PEAKS, max_size=3).map(tuple),
    idle_bytes=st.integers(0, GIB),
    has_free_slot=st.booleans(),
)


def takes(gpu: GpuLoad, peak: int | None) -> bool:
    return gpu.has_free_slot and can_start(peak, running_peaks=gpu.running_peaks, limit_bytes=gpu.limit_bytes)


@settings(deadline=None)
@given(PEAKS, st.lists(LOADS, max_size=5))
def test_a_trial_waits_only_where_no_gpu_takes_it(peak: int | None, gpus: list[GpuLoad]) -> None:
    chosen = choose_gpu(peak, gpus)
    if chosen is None:
        assert not any(takes(gpu, peak) for gpu in gpus)
        assert all(gpu.running_peaks for gpu in gpus if gpu.has_free_slot)
    else:
        gpu = gpus[chosen.gpu]
        assert takes(gpu, peak)
        is_closed = gpu.idle_bytes if chosen.needs_room else 0
        assert not gpu.running_peaks or MARGIN * (peak or 0) <= gpu.free_bytes + is_closed


@settings(deadline=None)
@given(PEAKS, LOADS)
def test_with_one_gpu_a_trial_starts_if_it_fits(peak: int | None, gpu: GpuLoad) -> None:
    assert (choose_gpu(peak, [gpu]) is not None) == takes(gpu, peak)


@settings(deadline=None)
@given(st.integers(1, 20 * GIB), st.lists(LOADS, min_size=1, max_size=5))
def test_where_it_fits_an_idle_gpu_comes_first_then_no_closed_worker_then_the_most_free_memory(
    peak: int, gpus: list[GpuLoad]
) -> None:
    needed = peak * MARGIN
    best = [index for index, gpu in enumerate(gpus) if takes(gpu, peak) and needed <= gpu.free_bytes + gpu.idle_bytes]
    best = [index for index in best if not gpus[index].running_peaks] or best
    best = [index for index in best if needed <= gpus[index].free_bytes] or best
    if best:
        most = max(gpus[index].free_bytes for index in best)
        chosen = choose_gpu(peak, gpus)
        assert chosen is not None
        assert chosen.gpu == next(index for index in best if gpus[index].free_bytes == most)
        assert chosen.needs_room == (needed > most)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 9))
def test_no_gpu_has_two_slots_more_than_another(num_slots: int, num_gpus: int) -> None:
    slots = spread_slots(num_slots, num_gpus)
    counts = [slots.count(gpu) for gpu in range(num_gpus)]
    assert sum(counts) == num_slots
    assert max(counts) - min(counts) <= 1
    assert slots[0] == 0


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["NVIDIA A (cuda:0)"], "NVIDIA A (cuda:0)"),
        (["CPU"], "CPU"),
        (["NVIDIA A (cuda:0)"] * 2, "2 × NVIDIA A"),
        (["NVIDIA A (cuda:0)", "NVIDIA B (cuda:0)", "NVIDIA A (cuda:0)"], "2 × NVIDIA A, NVIDIA B"),
    ],
)
def test_several_gpus_have_one_title(names: list[str], title: str) -> None:
    assert device_title(names) == title


class Watched:
    """A study of trials of given sizes on several GPUs, which records where each job was sent."""

    def __init__(self, limits_bytes: Sequence[int], *, num_slots: int, sizes: Sequence[int | None]) -> None:
        self.limits_bytes = limits_bytes
        self.sizes = sizes
        self.executor = ScriptedExecutor(num_slots=num_slots, num_gpus=len(limits_bytes))
        self.gpu_packer = make_packer(limits_bytes, self.size, slots_by_gpu=self.executor.slots_by_gpu)
        self.most = [0] * len(limits_bytes)
        self.seen: list[Any] = []
        plan = StudyPlan(
            space=QUALITY,
            objective=ACCURACY,
            rungs=(1, 3, 9),
            factor=3,
            limits=BudgetLimits(trials=14),
            seed=0,
        )
        self.state = new_state(plan)
        self.end = Study(
            plan,
            self.state,
            sampler=make_sampler("random", QUALITY, mode="max", seed=0),
            executor=self.executor,
            make_job=self.make_job,
            hooks=StudyHooks(can_start=self.gpu_packer, observer=self.seen.append, clock=self.executor.clock),
        ).run()

    def size(self, trial: PackedTrial) -> int | None:
        return self.sizes[trial.number % len(self.sizes)]

    def make_job(self, trial: Trial, epochs_from: int, epochs_to: int) -> RungJob:
        gpu = self.gpu_packer.choice(trial).gpu
        here = [trial] + [
            self.state.trials[number] for number, place in self.executor.places().items() if place == f"cuda:{gpu}"
        ]
        sizes = [self.size(other) for other in here]
        known = [size for size in sizes if size is not None]
        assert len(here) == 1 or (len(known) == len(here) and MARGIN * sum(known) <= self.limits_bytes[gpu])
        self.most[gpu] = max(self.most[gpu], len(here))
        return replace(make_job(trial, epochs_from, epochs_to), gpu=gpu)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(4, 40), min_size=2, max_size=4),
    st.integers(2, 9),
    st.lists(st.none() | st.integers(1, 60), min_size=1, max_size=4),
)
def test_every_trial_gets_a_gpu_that_holds_it_beside_the_others(
    limits: list[int], num_slots: int, sizes: list[int | None]
) -> None:
    ran = Watched(limits, num_slots=max(num_slots, len(limits)), sizes=sizes)
    assert ran.end == "trials"
    assert len(ran.state.trials) == 14
    assert all(job.gpu is not None for job in ran.executor.jobs)
    assert min(ran.most) >= 1


def test_small_trials_share_both_gpus_and_large_ones_do_not() -> None:
    assert Watched([10, 10], num_slots=4, sizes=[4]).most == [2, 2]
    assert Watched([10, 10], num_slots=4, sizes=[6]).most == [1, 1]
    assert Watched([10, 20], num_slots=6, sizes=[6]).most == [1, 2]


def test_progress_names_the_gpu_of_each_trial_if_there_are_several() -> None:
    def places(limits: list[int]) -> set[str | None]:
        seen = Watched(limits, num_slots=2, sizes=[1]).seen
        return {trial.place for record in seen if isinstance(record, SearchProgress) for trial in record.running}

    assert places([10, 10]) == {"cuda:0", "cuda:1"}
    assert places([10]) == {None}


def test_idle_workers_hold_memory_of_their_own_gpu_only() -> None:
    one, other, third = (Trial(number=number, positions={}, params={}, seed=0) for number in range(3))
    limit = int(2 * MARGIN * GIB) + CONTEXT_BYTES
    gpu_packer = make_packer([limit, limit], lambda _: GIB, idle_by_gpu=[3, 1])
    assert gpu_packer(one, [])
    assert gpu_packer.choice(one) == GpuChoice(1)
    assert gpu_packer(other, [one])
    assert gpu_packer.choice(other) == GpuChoice(0)
    assert gpu_packer(third, [one, other])
    assert gpu_packer.choice(third) == GpuChoice(1)


def test_trials_are_packed_if_a_gpu_has_two_slots_and_predicted_for_the_smallest_gpu() -> None:
    source = TargetSource(target="searched_task:blobs")
    device = DeviceSpec(kind="cuda", index=0, resolved=True)
    executor: Any = PredictingExecutor()
    executor.slots_by_gpu, executor.limits = (1, 1), (8 * GIB, 8 * GIB)
    assert make_gpu_packer(source, device, 16, executor) is None
    executor.slots_by_gpu, executor.limits = (2, 1), (8 * GIB, None)
    assert make_gpu_packer(source, device, 16, executor) is None
    executor.limits = (4 * GIB, 8 * GIB)
    gpu_packer = make_gpu_packer(source, device, 16, executor)
    assert gpu_packer is not None
    trials = [Trial(number=number, positions={}, params={"width": 8}, seed=0) for number in range(4)]
    for number, gpu in enumerate((1, 0, 0)):
        assert gpu_packer(trials[number], trials[:number])
        assert gpu_packer.choice(trials[number]).gpu == gpu
    assert not gpu_packer(trials[3], trials[:3])  # all three slots are taken
