"""Memory models of synthetic traces at any batch size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.batch.prediction.allocation_model import AllocationModel, Allocations, Kind, Trace
from probe.batch.prediction.memory_model import FixedCosts, MemoryModel

COEFFICIENTS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**4), st.just(0)), min_size=1, max_size=8)
CURVED = st.lists(st.tuples(*[st.integers(0, 1000)] * 3), min_size=1, max_size=8)
Coefficients = list[tuple[int, int, int]]


def traced(coefficients: Coefficients, micro_batch: int, *, gradient_accumulation: int = 1, num_eval: int = 0) -> Trace:
    """Allocation k has a + b * n + c * n^2 bytes; the first is data; every second one is freed where the next is made."""
    sizes, order, kinds = [], [], list[Kind]()
    for index, (a, b, c) in enumerate(coefficients):
        whole = index == 0 or index >= len(coefficients) - num_eval
        samples = micro_batch * gradient_accumulation if whole else micro_batch
        sizes.append(a + b * samples + c * samples**2)
        kinds.append("data" if index == 0 else "activations")
        order.append(index + 1)
        if index % 2:
            order.append(-(index + 1))
    return Trace(
        micro_batch=micro_batch, sizes=tuple(sizes), kinds=tuple(kinds), order=tuple(order),
        num_training=len(sizes) - num_eval,
    )  # fmt: skip


def fitted(coefficients: Coefficients, *sizes: int, **options: int) -> AllocationModel:
    return AllocationModel(traces=tuple(traced(coefficients, size, **options) for size in sizes or (4, 8, 16)))


@given(st.one_of(COEFFICIENTS, CURVED), st.integers(1, 10**5))
def test_every_size_is_exact(coefficients: Coefficients, batch_size: int) -> None:
    assert fitted(coefficients).at(batch_size).sizes == traced(coefficients, batch_size).sizes


@given(COEFFICIENTS, st.integers(1, 500), st.integers(1, 9), st.integers(0, 3))
def test_the_whole_batch_and_its_parts(
    coefficients: Coefficients, micro: int, gradient_accumulation: int, num_eval: int
) -> None:
    num_eval = min(num_eval, len(coefficients) - 1)
    found = fitted(coefficients, gradient_accumulation=2, num_eval=num_eval).at(
        micro * gradient_accumulation, gradient_accumulation=gradient_accumulation, traced_gradient_accumulation=2
    )
    assert (
        found.sizes == traced(coefficients, micro, gradient_accumulation=gradient_accumulation, num_eval=num_eval).sizes
    )


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=6), st.integers(0, 5))
def test_a_traced_size_is_what_its_trace_says(numbers: list[int], index: int) -> None:
    """A traced size returns its trace, whatever the other traces are."""
    traces = tuple(traced([(number, 0, 0)], 2 << place) for place, number in enumerate(numbers))
    index %= len(traces)
    assert AllocationModel(traces=traces).at(traces[index].micro_batch) == traces[index]


@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=6), st.integers(1, 10**4))
def test_no_allocation_is_negative(numbers: list[int], batch_size: int) -> None:
    traces = tuple(traced([(number, 0, 0)], 2 << place) for place, number in enumerate(numbers))
    assert min(AllocationModel(traces=traces).at(batch_size).sizes) >= 0


@given(COEFFICIENTS)
def test_the_peak_is_the_largest_sum(coefficients: Coefficients) -> None:
    found = fitted(coefficients).at(10)
    held = sums = 0
    for index, size in enumerate(found.sizes):
        sums = max(sums, held + size)
        held += 0 if index % 2 else size
    peak, parts = found.live_peak()
    assert peak == sums == sum(parts.values())


def test_sizes_that_are_no_whole_number_a_sample() -> None:
    rounded = (
        Trace(micro_batch=n, sizes=(-(-n * 9 // 8),), kinds=("data",), order=(1,), num_training=1) for n in (4, 8, 16)
    )
    assert AllocationModel(traces=tuple(rounded)).at(64).sizes == (
        70,
    )  # 5, 9 and 18 bytes: the middle is off the line by rounding


def test_sizes_that_do_other_work_lie_on_a_line_with_the_nearest_ones() -> None:
    four, eight = (traced([(100, 1, 0), (0, 1, 0)], size) for size in (4, 8))
    other = traced([(100, 1, 0), (0, 1, 0), (0, 2, 0)], 64)
    found = AllocationModel(traces=(four, eight, other))
    assert found.at(9).sizes == (109, 9)
    assert found.at(128).order == other.order
    rise = (other.live_peak()[0] - eight.live_peak()[0]) / 56
    peak = other.live_peak()[0] + 64 * rise
    assert found.at(128).live_peak()[0] == pytest.approx(peak, rel=0.2)


def test_what_does_not_depend_on_the_batch_does_not_grow_with_it() -> None:
    trace = Trace(
        micro_batch=4, sizes=(40, 8, 16), kinds=("weights", "data", "activations"), order=(1, 2, 3), num_training=3
    )
    assert AllocationModel(traces=(trace,)).at(12).sizes == (40, 24, 48)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="made once"):
        Allocations(sizes=(1, 2), kinds=("data", "data"), order=(2, 1))
    with pytest.raises(ValueError, match="kinds"):
        Trace(micro_batch=4, sizes=(1,), kinds=(), order=(1,), num_training=1)
    with pytest.raises(ValueError, match="at least 1"):
        fitted([(1, 1, 0)]).at(0)
    with pytest.raises(ValueError, match="ascending"):
        fitted([(1, 1, 0)], 8, 4)


def made_model(coefficients: Coefficients, *, dataset_bytes: int = 0) -> MemoryModel:
    return MemoryModel(
        target="gpu", allocation_model=fitted(coefficients), gradient_accumulation=1, traced_gradient_accumulation=1,
        dataset_bytes=dataset_bytes, max_dataset_fraction=0.25, uses_convolutions=True, uses_matrix_products=False,
        traced_as="fake cpu", unseen=(), seconds=0.0,
    )  # fmt: skip


COSTS = FixedCosts(context_bytes=100, cublas_bytes=2**30, cudnn_bytes=2**21)


def test_a_replay_says_what_is_held_and_whether_it_fits() -> None:
    model = made_model([(0, 2**20, 0), (0, 2**21, 0), (0, 2**20, 0)])
    roomy = model.simulate(10, costs=COSTS)
    assert (roomy.outcome, roomy.num_alloc_retries) == ("fits", 0)
    assert (
        roomy.peak_reserved_bytes == 40 * 2**20
    )  # cuDNN's and the data share a segment, the other two one after the other
    assert roomy.peak_bytes == roomy.peak_reserved_bytes + 100
    assert model.simulate(10, roomy.peak_bytes, costs=COSTS).outcome == "fits"
    assert model.simulate(10, roomy.peak_bytes - 1, costs=COSTS).outcome == "oom"
    assert model.live_peak_bytes(10) == 30 * 2**20


def test_a_data_set_is_kept_on_a_gpu_that_is_large_enough() -> None:
    model = made_model([(0, 1, 0)], dataset_bytes=2**30)
    assert model.resident_bytes(4 * 2**30) == 2**30
    assert model.resident_bytes(4 * 2**30 - 1) == 0
    with_data, without = (model.simulate(1, card, costs=COSTS) for card in (2**40, 2**31))
    assert with_data.peak_reserved_bytes - without.peak_reserved_bytes == 2**30


def test_empty_tensors_take_no_memory() -> None:
    full, empty = (
        made_model([(0, 2**20, 0), (0, 2**20, 0)]),
        made_model([(0, 2**20, 0), (0, 2**20, 0), (0, 0, 0), (0, 0, 0)]),
    )
    assert full.simulate(10, costs=COSTS) == empty.simulate(10, costs=COSTS)
