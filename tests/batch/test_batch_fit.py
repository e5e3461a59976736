"""Fits of made-up traces, for any batch size."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.batch.fit import Kind, NotAlikeError, Trace, fit
from probe.batch.profile import FixedCosts, Profile

COEFFICIENTS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**4), st.just(0)), min_size=1, max_size=8)
CURVED = st.lists(st.tuples(*[st.integers(0, 1000)] * 3), min_size=1, max_size=8)
Coefficients = list[tuple[int, int, int]]


def traced(coefficients: Coefficients, micro_batch: int, *, accumulation: int = 1, num_eval: int = 0) -> Trace:
    """Allocation k has a + b * n + c * n^2 bytes; the first is data; every second one is freed where the next is made."""
    sizes, order, kinds = [], [], list[Kind]()
    for index, (a, b, c) in enumerate(coefficients):
        whole = index == 0 or index >= len(coefficients) - num_eval
        samples = micro_batch * accumulation if whole else micro_batch
        sizes.append(a + b * samples + c * samples**2)
        kinds.append("data" if index == 0 else "activations")
        order.append(index + 1)
        if index % 2:
            order.append(-(index + 1))
    return Trace(
        micro_batch=micro_batch, sizes=tuple(sizes), kinds=tuple(kinds), order=tuple(order),
        num_training=len(sizes) - num_eval,
    )  # fmt: skip


@given(st.one_of(COEFFICIENTS, CURVED), st.integers(1, 10**5))
def test_every_size_is_exact(coefficients: Coefficients, batch_size: int) -> None:
    fitted = fit(*(traced(coefficients, size) for size in (4, 8, 16)))
    assert tuple(fitted.sizes_at(batch_size)) == traced(coefficients, batch_size).sizes
    assert bool(fitted.bends) == any(c for _, _, c in coefficients)


@given(COEFFICIENTS, st.integers(1, 500), st.integers(1, 9), st.integers(0, 3))
def test_the_whole_batch_and_its_parts(
    coefficients: Coefficients, micro: int, accumulation: int, num_eval: int
) -> None:
    num_eval = min(num_eval, len(coefficients) - 1)
    traces = (traced(coefficients, size, accumulation=2, num_eval=num_eval) for size in (4, 8, 16))
    sizes = fit(*traces).sizes_at(micro * accumulation, accumulation=accumulation, traced_accumulation=2)
    assert tuple(sizes) == traced(coefficients, micro, accumulation=accumulation, num_eval=num_eval).sizes


@given(COEFFICIENTS)
def test_the_peak_is_the_largest_sum(coefficients: Coefficients) -> None:
    fitted = fit(*(traced(coefficients, size) for size in (4, 8, 16)))
    sizes = fitted.sizes_at(10)
    held = sums = 0
    for index, size in enumerate(sizes):
        sums = max(sums, held + size)
        held += 0 if index % 2 else size
    peak, parts = fitted.live_peak(sizes)
    assert peak == sums == sum(parts.values())


def test_a_check_may_be_the_beginning_only() -> None:
    coefficients = [(1, 2, 0), (3, 4, 0), (5, 6, 0), (7, 8, 0)]
    check = traced(coefficients[:2], 16)
    fitted = fit(traced(coefficients, 4), traced(coefficients, 8), check)
    assert fitted.sizes_at(100) == [201, 403, 605, 807]


def test_sizes_that_are_no_whole_number_a_sample() -> None:
    rounded = [
        Trace(micro_batch=n, sizes=(-(-n * 9 // 8),), kinds=("data",), order=(1,), num_training=1) for n in (4, 8, 16)
    ]
    assert fit(*rounded).sizes_at(64) == [
        65
    ]  # 5, 9 and 18 bytes, of which the last is off the line, but not by a square


def test_traces_that_are_not_alike_are_refused() -> None:
    four, eight, sixteen = (traced([(1, 1, 0)] * 4, size) for size in (4, 8, 16))
    with pytest.raises(NotAlikeError, match="micro-batches of 4 and 8 samples do not do the same work"):
        fit(four, traced([(1, 1, 0)] * 5, 8), sixteen)
    with pytest.raises(NotAlikeError, match="micro-batches of 4 and 16 samples"):
        fit(four, eight, replace(sixteen, order=(1, 2, 3, 4)))
    with pytest.raises(ValueError, match="must grow"):
        fit(eight, four, sixteen)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="made once each"):
        Trace(micro_batch=4, sizes=(1, 2), kinds=("data", "data"), order=(2, 1), num_training=2)
    with pytest.raises(ValueError, match="kinds"):
        Trace(micro_batch=4, sizes=(1,), kinds=(), order=(1,), num_training=1)
    with pytest.raises(ValueError, match="at least 1"):
        fit(*(traced([(1, 1, 0)], size) for size in (4, 8, 16))).sizes_at(0)


def made_profile(coefficients: Coefficients, *, dataset_bytes: int = 0) -> Profile:
    return Profile(
        target="cuda", fit=fit(*(traced(coefficients, size) for size in (4, 8, 16))), accumulation=1, traced_accumulation=1,
        dataset_bytes=dataset_bytes, max_dataset_share=0.25, uses_convolutions=True, uses_matrix_products=False,
        traced_as="fake cpu", unseen=(), seconds=0.0,
    )  # fmt: skip


COSTS = FixedCosts(context_bytes=100, cublas_bytes=2**30, cudnn_bytes=2**21)


def test_a_replay_says_what_is_held_and_whether_it_fits() -> None:
    profile = made_profile([(0, 2**20, 0), (0, 2**21, 0), (0, 2**20, 0)])
    roomy = profile.replay(10, costs=COSTS)
    assert (roomy.outcome, roomy.num_alloc_retries) == ("fits", 0)
    assert (
        roomy.peak_reserved_bytes == 40 * 2**20
    )  # cuDNN's and the data share a segment, the other two one after the other
    assert roomy.peak_bytes == roomy.peak_reserved_bytes + 100
    assert profile.replay(10, roomy.peak_bytes, costs=COSTS).outcome == "fits"
    assert profile.replay(10, roomy.peak_bytes - 1, costs=COSTS).outcome == "oom"
    assert profile.live_peak_bytes(10) == 30 * 2**20


def test_a_data_set_lives_on_a_card_that_is_large_enough_for_it() -> None:
    profile = made_profile([(0, 1, 0)], dataset_bytes=2**30)
    assert profile.resident_bytes(4 * 2**30) == 2**30
    assert profile.resident_bytes(4 * 2**30 - 1) == 0
    with_data, without = (profile.replay(1, card, costs=COSTS) for card in (2**40, 2**31))
    assert with_data.peak_reserved_bytes - without.peak_reserved_bytes == 2**30
