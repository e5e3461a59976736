"""Whether an allocator thrashes is judged on training steps like those that a run repeats."""

from __future__ import annotations

from dataclasses import replace

import pytest

from probe.batch.prediction.allocation_model import Allocations, Kind
from probe.batch.prediction.allocator_simulation import CachingAllocator
from probe.batch.prediction.replay import Replay

MIB = 2**20
KINDS: tuple[Kind, ...] = (
    "weights",
    "activations",
    "activations",
    "gradients",
    "activations",
    "activations",
    "gradients",
)
TWO_STEPS = Allocations(
    sizes=tuple(mib * MIB for mib in (20, 14, 47, 27, 14, 47, 27)),
    kinds=KINDS,
    order=(1, 2, -2, 3, 4, -3, -4, 5, -5, 6, 7, -6),
    num_training=7,
    num_before_last_step=4,
)
"""Each step makes activations that are freed at once, activations that live until the gradients are made, and gradients."""


def test_what_the_last_step_leaves_takes_the_place_of_what_it_frees() -> None:
    assert TWO_STEPS.last_step == (-3, -4, 5, -5, 6, 7)
    # Activations 2 and gradients 3 are freed in the next step; so are activations 5 and gradients 6 of the last one.
    assert TWO_STEPS.carried_over() == {2: 5, 3: 6}


@pytest.mark.parametrize(
    "other",
    [
        {"num_before_last_step": 0},
        {"num_before_last_step": 7},
        {"sizes": (*TWO_STEPS.sizes[:-1], 28 * MIB)},
    ],
)
def test_a_step_that_leaves_something_else_cannot_be_repeated(other: dict[str, object]) -> None:
    assert replace(TWO_STEPS, **other).carried_over() is None  # type: ignore[arg-type]  # any field


@pytest.mark.parametrize(("limit_mib", "has_retries"), [(110, False), (108, True), (96, True)])
def test_only_steady_steps_count(limit_mib: int, has_retries: bool) -> None:
    allocator = CachingAllocator(limit_mib * MIB)
    replay = Replay(allocator, TWO_STEPS)
    assert replay.run()
    assert (allocator.num_retries > 0) == has_retries
    assert replay.is_steady()


def test_without_a_step_to_repeat_all_steps_count() -> None:
    allocator = CachingAllocator(108 * MIB)
    replay = Replay(allocator, replace(TWO_STEPS, num_before_last_step=0))
    assert replay.run()
    assert replay.is_steady() is False


def test_memory_can_run_out_in_the_steps_or_after_them() -> None:
    assert not Replay(CachingAllocator(60 * MIB), TWO_STEPS).run()
    with_evaluation = replace(
        TWO_STEPS,
        sizes=(*TWO_STEPS.sizes, 10 * MIB),
        kinds=(*KINDS, "data"),
        order=(*TWO_STEPS.order, 8),
    )
    replay = Replay(CachingAllocator(1000 * MIB), with_evaluation)
    assert replay.run()
    assert replay.is_steady()
