from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_slots import CONTEXT_BYTES, GIB, PEAKS, PredictingExecutor, make_packer
from made_studies import Ran
from scripted_executor import ScriptedExecutor

from probe.device.select import DeviceSpec
from probe.search.executors.gpu_packing import GpuMemory, PackedTrial, make_gpu_packer, predicted_peak
from probe.search.executors.slots import MARGIN, GpuChoice, can_start
from probe.search.records.search import BudgetLimits, ParamValue
from probe.search.study.trial import Trial
from probe.tasks.source import TargetSource


@given(PEAKS, st.integers(0, GIB))
def test_a_trial_alone_always_starts(peak: int | None, limit: int) -> None:
    assert can_start(peak, running_peaks=[], limit_bytes=limit)


@given(PEAKS, st.lists(PEAKS, min_size=1, max_size=4), st.integers(1, 80 * GIB))
def test_trials_share_only_what_holds_all_of_them(peak: int | None, running: list[int | None], limit: int) -> None:
    known = [other for other in (peak, *running) if other is not None]
    fits = len(known) == len(running) + 1 and MARGIN * sum(known) <= limit
    assert can_start(peak, running_peaks=running, limit_bytes=limit) == fits


def test_a_study_starts_no_more_trials_than_fit_and_leaves_none_behind() -> None:
    most = 0
    predicted: list[int] = []

    def peak(trial: PackedTrial) -> int | None:
        predicted.append(trial.number)
        return None if trial.number == 5 else (4 if trial.number % 2 else 2) * GIB

    gpu_packer = make_packer([10 * GIB], peak)

    def watched(trial: Trial, running: list[Trial]) -> bool:
        nonlocal most
        fits = gpu_packer(trial, running)
        if fits:
            everyone = [trial.number, *(other.number for other in running)]
            assert len(everyone) == 1 or 5 not in everyone
            assert MARGIN * sum((4 if number % 2 else 2) for number in everyone) <= 10 or len(everyone) == 1
            most = max(most, len(everyone))
        return fits

    ran = Ran(limits=BudgetLimits(trials=12), executor=ScriptedExecutor(num_slots=8), can_start=watched)
    assert most == 4 or most == 3
    assert len(ran.results) == 12
    assert "complete" in {result.status for result in ran.results}
    assert len(predicted) == len(set(predicted))
    assert ran.end == "trials"


@pytest.mark.parametrize(("num_idle", "needs_room"), [(1, False), (2, False), (3, True)])
def test_idle_workers_are_closed_where_their_contexts_are_in_the_way(num_idle: int, needs_room: bool) -> None:
    """One idle worker runs the trial, and there is room for the context of one more."""
    one, other = (Trial(number=number, positions={}, params={}, seed=0) for number in range(2))
    limit = int(2 * MARGIN * GIB) + 1 + CONTEXT_BYTES
    packer = make_packer([limit], lambda _: GIB, idle_by_gpu=[num_idle])
    assert packer(other, [])
    assert packer(one, [other])
    assert packer.choice(one) == GpuChoice(0, needs_room)


def test_a_trial_that_may_need_all_memory_has_the_idle_workers_closed() -> None:
    one = Trial(number=0, positions={}, params={}, seed=0)
    for peak_of in (lambda _: None, lambda _: 20 * GIB):
        packer = make_packer([10 * GIB], peak_of, idle_by_gpu=[2])
        assert packer(one, [])
        assert packer.choice(one) == GpuChoice(0, needs_room=True)


def test_a_trial_that_was_crowded_out_has_its_gpu_for_itself() -> None:
    small, other = (Trial(number=number, positions={}, params={}, seed=0) for number in range(2))
    crowded = Trial(number=2, positions={}, params={}, seed=0, crowded_rung=0)
    packer = make_packer([10 * GIB], lambda _: GIB)
    assert packer(small, [])
    assert not packer(crowded, [small])
    assert packer(crowded, [])
    assert not packer(other, [crowded])


def test_memory_that_other_programs_take_later_counts() -> None:
    one, other = (Trial(number=number, positions={}, params={}, seed=0) for number in range(2))
    assert [
        packer(one, []) and packer(other, [one])
        for packer in (
            make_packer([10 * GIB], lambda _: 4 * GIB),
            make_packer([10 * GIB], lambda _: 4 * GIB, offered_by_gpu=[9 * GIB]),
        )
    ] == [True, False]


def test_a_trials_peak_is_predicted_without_a_gpu() -> None:
    source = TargetSource(target="searched_task:blobs")
    gpu = GpuMemory(offered_bytes=8 * GIB, context_bytes=CONTEXT_BYTES)
    small, large = (predicted_peak(source, {"width": 64}, size, gpu) for size in (16, 2**20))
    assert small is not None
    assert large is not None
    assert CONTEXT_BYTES < small < large
    larger = predicted_peak(source, {"width": 64}, 16, replace(gpu, context_bytes=2 * CONTEXT_BYTES))
    assert larger == small + CONTEXT_BYTES


def test_trials_are_packed_onto_a_gpu_with_several_slots() -> None:
    source = TargetSource(target="searched_task:blobs")
    device = DeviceSpec(kind="cuda", index=0, resolved=True)
    executor: Any = PredictingExecutor()
    gpu_packer = make_gpu_packer(source, device, 16, executor)
    assert gpu_packer is not None
    configurations: list[dict[str, ParamValue]] = [
        {"width": 8},
        {"width": 64, "batch_size": 2**25},
        {"fault": "raises"},
    ]
    small, large, faulty = (
        Trial(number=number, positions={}, params=params, seed=0) for number, params in enumerate(configurations)
    )
    other = replace(small, number=3)
    assert gpu_packer(other, [])
    assert gpu_packer(small, [other])
    assert not gpu_packer(large, [small])
    assert gpu_packer(large, [])
    assert not gpu_packer(faulty, [small])
    assert make_gpu_packer(source, DeviceSpec(kind="cpu"), 16, executor) is None
