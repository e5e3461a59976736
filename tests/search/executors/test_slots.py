from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from made_slots import GIB, PEAKS, PredictingExecutor
from made_studies import Ran
from scripted_executor import ScriptedExecutor

from probe.batch.prediction.memory_model import FixedCosts
from probe.device.select import DeviceSpec
from probe.search.executors.gpu_packing import GpuPacker, PackedTrial, make_gpu_packer, predicted_peak
from probe.search.executors.slots import MARGIN, can_start
from probe.search.records.search import BudgetLimits, ParamValue
from probe.search.study.trial import Trial
from probe.tasks.source import TargetSource


@given(PEAKS, st.integers(0, GIB))
def test_a_trial_alone_always_starts(peak: int | None, limit: int) -> None:
    assert can_start(peak, running_peaks=[], limit_bytes=limit)


@given(PEAKS, st.lists(PEAKS, min_size=1, max_size=4), st.integers(0, GIB), st.integers(1, 80 * GIB))
def test_trials_share_only_what_holds_all_of_them(
    peak: int | None, running: list[int | None], idle: int, limit: int
) -> None:
    known = [other for other in (peak, *running) if other is not None]
    fits = len(known) == len(running) + 1 and MARGIN * sum(known) + idle <= limit
    assert can_start(peak, running_peaks=running, idle_bytes=idle, limit_bytes=limit) == fits


def test_a_study_starts_no_more_trials_than_fit_and_leaves_none_behind() -> None:
    most = 0
    predicted: list[int] = []

    def peak(trial: PackedTrial) -> int | None:
        predicted.append(trial.number)
        return None if trial.number == 5 else (4 if trial.number % 2 else 2) * GIB

    gpu_packer = GpuPacker([10 * GIB], peak)

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


def test_idle_workers_hold_gpu_memory() -> None:
    one, other = (Trial(number=number, positions={}, params={}, seed=0) for number in range(2))
    limit = int(2 * MARGIN * GIB) + 1 + FixedCosts().context_bytes
    assert GpuPacker([limit], lambda _: GIB, count_idle=lambda _: 2)(one, [other])
    assert not GpuPacker([limit], lambda _: GIB, count_idle=lambda _: 3)(one, [other])


def test_a_trials_peak_is_predicted_without_a_gpu() -> None:
    source = TargetSource(target="searched_task:blobs")
    small, large = (predicted_peak(source, {"width": 64}, size, 8 * GIB) for size in (16, 2**20))
    assert small is not None
    assert large is not None
    assert FixedCosts().context_bytes < small < large


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
    assert gpu_packer(small, [])
    assert gpu_packer(small, [replace(small, number=3)])
    assert not gpu_packer(large, [small])
    assert gpu_packer(large, [])
    assert not gpu_packer(faulty, [small])
    assert make_gpu_packer(source, DeviceSpec(kind="cpu"), 16, executor) is None
