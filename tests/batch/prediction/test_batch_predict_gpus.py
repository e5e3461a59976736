"""Predictions for several GPUs, and the sizes to trace for them, from a synthetic memory model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_device import line_model

from probe.batch.prediction.allocation_model import AllocationModel, Trace
from probe.batch.prediction.memory_model import FixedCosts, MemoryModel, Target, Untraceable
from probe.batch.prediction.predict import TargetGpus, next_size_to_trace, predict_batch_sizes

MIB = 2**20
few = settings(deadline=None, max_examples=50)
sizes_of_gpus = st.lists(st.integers(1, 4096).map(lambda mib: mib * MIB), min_size=1, max_size=4)


def model_on(target: Target, *, fixed_mib: int = 10, mib_per_sample: int = 1) -> MemoryModel:
    return replace(line_model(fixed_bytes=fixed_mib * MIB, bytes_per_sample=mib_per_sample * MIB), target=target)


@few
@given(st.sampled_from(["gpu", "simulated"]), sizes_of_gpus, st.none() | st.integers(1, 600), st.integers(1, 9))
def test_the_largest_fit_is_the_largest_power_of_two_that_the_model_fits(
    target: Target, gpus: list[int], bound: int | None, mib_per_sample: int
) -> None:
    model = model_on(target, mib_per_sample=mib_per_sample)
    costs = FixedCosts(context_bytes=20 * MIB, cublas_bytes=8 * MIB, cudnn_bytes=0)
    info, found = predict_batch_sizes(model, TargetGpus(memory_bytes=tuple(gpus), bound=bound, costs=costs))
    for one in found:
        sizes = [2**k for k in range(13) if bound is None or 2**k <= bound]
        fitting = [size for size in sizes if model.simulate(size, one.memory_bytes, costs=costs).outcome == "fits"]
        assert one.largest_fit == max(fitting, default=None)
        assert one.is_traced == (one.largest_fit in (4, 8, 16))
        assert one.breakdown.total_bytes == one.peak_bytes
        assert (one.peak_bytes <= one.memory_bytes) == (one.largest_fit is not None)
    # The curve shows one size beyond the largest fit on any GPU.
    assert info.curve[-1].batch_size == 2 * max(one.largest_fit or 1 for one in found)
    assert [point.batch_size for point in info.curve] == [2**k for k in range(len(info.curve))]


def test_of_nominal_memory_a_fraction_is_usable_and_the_page_can_say_so() -> None:
    model = model_on("simulated", fixed_mib=0)
    whole, nominal = (TargetGpus(memory_bytes=(64 * MIB,), usable_fraction=fraction) for fraction in (1.0, 0.97))
    assert predict_batch_sizes(model, whole)[1][0].largest_fit == 64
    info, (found,) = predict_batch_sizes(model, nominal)
    assert found.largest_fit == 32
    assert info.unseen[0] == model.unseen[0]
    assert "97 %" in info.unseen[-1]
    assert predict_batch_sizes(model, whole)[0].unseen == model.unseen


def test_without_a_memory_model_or_a_gpu_there_are_no_predictions() -> None:
    info, found = predict_batch_sizes(Untraceable(reason="it reads the values"))
    assert (info.traced_as, info.failure, found) == (None, "it reads the values", ())
    info, found = predict_batch_sizes(model_on("gpu"), TargetGpus(memory_bytes=()))
    assert (info.curve, found, info.failure) == ((), (), None)


def test_common_gpus_are_the_default_and_larger_ones_fit_more() -> None:
    _, found = predict_batch_sizes(model_on("gpu", mib_per_sample=8))
    fits = [one.largest_fit or 0 for one in found]
    assert len(fits) == 8
    assert fits == sorted(fits)
    assert fits[0] < fits[-1]


def with_trace_at(model: MemoryModel, batch_size: int) -> MemoryModel:
    allocations = model.allocation_model.at(batch_size)
    trace = Trace(
        micro_batch=batch_size,
        sizes=allocations.sizes,
        kinds=allocations.kinds,
        order=allocations.order,
        num_training=2,
    )
    return replace(model, allocation_model=model.allocation_model.with_trace(trace))


@few
@given(sizes_of_gpus, st.none() | st.integers(1, 600))
def test_tracing_ends_when_every_prediction_and_the_next_size_are_traced(gpus: list[int], bound: int | None) -> None:
    model, targets = model_on("simulated"), TargetGpus(memory_bytes=tuple(gpus), bound=bound)
    first = next_size_to_trace(model, targets, only_largest=True)
    traced = []
    while (size := next_size_to_trace(model, targets)) is not None:
        assert not model.is_traced(size)
        model = with_trace_at(model, size)
        traced.append(size)
        assert len(traced) <= 2 * len(gpus)
    assert first is None or traced[0] == first  # the largest GPU comes first
    _, found = predict_batch_sizes(model, targets)
    for one in found:
        size = one.largest_fit or 1
        assert one.is_traced
        assert model.is_traced(2 * size) or 2 * size > targets.max_batch_size


def test_only_the_largest_gpu_is_considered_on_request() -> None:
    model = model_on("simulated", fixed_mib=0)
    gpus = TargetGpus(memory_bytes=(16 * MIB, 128 * MIB))
    assert next_size_to_trace(model, gpus) == 128
    model = with_trace_at(model, 128)
    assert next_size_to_trace(model, gpus, only_largest=True) is None
    assert next_size_to_trace(model, gpus) == 256  # 16 is traced already


def test_sizes_that_cannot_be_traced_are_left_out() -> None:
    model, gpus = model_on("simulated", fixed_mib=0), TargetGpus(memory_bytes=(64 * MIB, 128 * MIB))
    assert [next_size_to_trace(model, gpus, excluded=excluded) for excluded in ((), {128}, {128, 64}, {128, 64, 256})] == [
        128, 64, 256, None,
    ]  # fmt: skip


@pytest.mark.parametrize(("gradient_accumulation", "size"), [(1, None), (3, 48)])
def test_a_small_data_set_is_checked_at_a_micro_batch_that_need_not_exist(
    gradient_accumulation: int, size: int | None
) -> None:
    model = replace(
        model_on("simulated"), gradient_accumulation=gradient_accumulation,
        allocation_model=AllocationModel(traces=model_on("simulated").allocation_model.traces[: 3 if size is None else 2]),
    )  # fmt: skip
    assert next_size_to_trace(model, TargetGpus(memory_bytes=(2**40,), bound=1), excluded={1}) == size


def test_the_next_trace_is_not_too_far_from_the_last() -> None:
    model, gpus = model_on("simulated"), TargetGpus(memory_bytes=(2**40,))
    assert predict_batch_sizes(model, gpus)[1][0].largest_fit == 2**19
    assert next_size_to_trace(model, gpus) == 16 * 1024
