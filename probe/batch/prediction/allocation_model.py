"""The allocation model: interpolates the allocations of a few traced batch sizes to any batch size. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

Kind = Literal["weights", "gradients", "optimizer_state", "data", "activations", "scratch"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_GROWING: frozenset[Kind] = frozenset({"data", "activations"})
"""Kinds whose size depends on the batch size."""
_ROUNDING_BYTES = 2
"""Upper bound of the deviation from a line that rounding causes if the bytes per sample are not an integer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocations:
    """The allocations and frees of a training run, in order."""

    sizes: tuple[int, ...]
    """Size of each allocation in bytes."""
    kinds: tuple[Kind, ...]
    order: tuple[int, ...]
    """Steps in order: k + 1 makes allocation k, -(k + 1) frees it. Consecutive frees are sorted."""
    num_training: int = 0
    """Number of allocations before the evaluation step, which processes the whole batch at once."""
    num_before_last_step: int = 0
    """Number of allocations before the last training step, which may free some of them."""

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.kinds):
            raise ValueError(f"{len(self.sizes)} sizes, but {len(self.kinds)} kinds")
        if [index for index in self.order if index > 0] != list(range(1, len(self.sizes) + 1)):
            raise ValueError("each allocation must be made once, in order")

    def live_peak(self) -> tuple[int, Mapping[Kind, int]]:
        """Return the largest sum of live allocations, and its bytes by kind."""
        sizes = self.sizes
        live = peak = 0
        peak_at = -1
        for place, step in enumerate(self.order):
            if step > 0:
                live += sizes[step - 1]
                if live > peak:
                    peak, peak_at = live, place
            else:
                live -= sizes[-step - 1]
        by_kind: dict[Kind, int] = defaultdict(int)
        for step in self.order[: peak_at + 1]:
            index = abs(step) - 1
            by_kind[self.kinds[index]] += sizes[index] if step > 0 else -sizes[index]
        return peak, {kind: by_kind[kind] for kind in KINDS}

    @property
    def last_step(self) -> tuple[int, ...]:
        """The part of `order` from the last allocation of one training step to that of the next."""
        first, last = (self.order.index(number) for number in (self.num_before_last_step, self.num_training))
        return self.order[first + 1 : last + 1]

    def carried_over(self) -> Mapping[int, int] | None:
        """Return the allocations that the last training step frees though it has not made them, like the gradients of the step
        before, each with the one that the last step leaves in its place. None if these differ, so that the step cannot be
        repeated."""
        if not 0 < self.num_before_last_step < self.num_training:
            return None
        freed = {-step - 1 for step in self.last_step if step < 0}
        given = sorted(index for index in freed if index < self.num_before_last_step)
        left = [index for index in range(self.num_before_last_step, self.num_training) if index not in freed]
        if [self.sizes[index] for index in given] != [self.sizes[index] for index in left]:
            return None
        return dict(zip(given, left, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace(Allocations):
    """The recorded allocations of a training run at one micro-batch size."""

    micro_batch: int
    """Samples in one forward pass."""

    def is_like(self, other: Trace) -> bool:
        """Return whether both have the same allocations in the same order, regardless of their sizes."""
        return (self.order, self.kinds, self.num_training) == (other.order, other.kinds, other.num_training)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationModel:
    """Traces of a few batch sizes, interpolated and extrapolated to others.

    A traced size returns its trace. Any other size is interpolated, allocation by allocation, from up to three nearest traces
    with the same order of allocations: linearly if they are on a line, otherwise quadratically. If no other trace has the
    same order as the nearest one, its allocations that depend on the batch are scaled by one factor, such that the peak is on
    a line with the peak of the next trace.
    """

    traces: tuple[Trace, ...]
    """At least one trace, in ascending order of micro-batches."""

    def __post_init__(self) -> None:
        sizes = [trace.micro_batch for trace in self.traces]
        if not sizes or sizes != sorted(set(sizes)):
            raise ValueError(f"traced sizes must be in ascending order, not {sizes}")

    def with_trace(self, trace: Trace) -> AllocationModel:
        """Return a model with one more trace, of a size that is not traced yet."""
        return AllocationModel(traces=tuple(sorted((*self.traces, trace), key=lambda one: one.micro_batch)))

    def at(
        self, batch_size: int, *, gradient_accumulation: int = 1, traced_gradient_accumulation: int = 1
    ) -> Allocations:
        """Return the allocations of a batch in `gradient_accumulation` micro-batches, of which the first is the largest. The
        batch itself and the evaluation step grow with the batch size, all other allocations with the micro-batch."""
        if batch_size < 1 or gradient_accumulation < 1:
            raise ValueError(
                f"batch size and gradient accumulation must be at least 1, not {batch_size} and {gradient_accumulation}"
            )
        micro_batch = -(-batch_size // gradient_accumulation)
        nearest = min(self.traces, key=lambda trace: abs(math.log(trace.micro_batch / micro_batch)))
        if nearest.micro_batch == micro_batch and batch_size == micro_batch * traced_gradient_accumulation:
            return nearest
        knots = self._knots(nearest, micro_batch)
        if len(knots) == 1:
            return self._scaled(
                nearest, micro_batch, Fraction(batch_size, nearest.micro_batch * traced_gradient_accumulation)
            )
        by_micro_batch = _Curve([knot.micro_batch for knot in knots], micro_batch)
        by_batch = _Curve([knot.micro_batch * traced_gradient_accumulation for knot in knots], batch_size)
        sizes = []
        for index, kind in enumerate(nearest.kinds):
            has_whole_batch = kind == "data" or index >= nearest.num_training
            sizes.append((by_batch if has_whole_batch else by_micro_batch).at([knot.sizes[index] for knot in knots]))
        return _resized(nearest, sizes)

    def _scaled(self, trace: Trace, micro_batch: int, data_factor: Fraction) -> Allocations:
        """Scale `trace` to another micro-batch. The memory of the batch itself grows by `data_factor`."""
        others = [other for other in self.traces if other is not trace]
        factor = Fraction(micro_batch, trace.micro_batch)
        if others:
            other = min(others, key=lambda other: abs(math.log(other.micro_batch / micro_batch)))
            (peak, by_kind), (other_peak, _) = trace.live_peak(), other.live_peak()
            growth = Fraction(other_peak - peak, other.micro_batch - trace.micro_batch)
            growing = sum(by_kind[kind] for kind in _GROWING)
            rise = growth * (micro_batch - trace.micro_batch)
            factor = max(1 + rise / growing, Fraction(0)) if growing else factor
        factors = {kind: factor if kind in _GROWING else Fraction(1) for kind in KINDS} | {"data": data_factor}
        return _resized(trace, [int(size * factors[kind]) for size, kind in zip(trace.sizes, trace.kinds, strict=True)])

    def _knots(self, nearest: Trace, micro_batch: int) -> list[Trace]:
        """Return the traces to interpolate from: `nearest`, and up to two traces like it that are next in size."""
        alike = [trace for trace in self.traces if trace.is_like(nearest)]
        by_distance = sorted(alike, key=lambda trace: abs(math.log(trace.micro_batch / micro_batch)))
        return sorted(by_distance[:3], key=lambda trace: trace.micro_batch)


def _resized(trace: Trace, sizes: Sequence[int]) -> Allocations:
    return Allocations(
        sizes=tuple(sizes),
        kinds=trace.kinds,
        order=trace.order,
        num_training=trace.num_training,
        num_before_last_step=trace.num_before_last_step,
    )


class _Curve:
    """A line or parabola through values at two or three batch sizes, evaluated at another size in integers. The parabola is
    Newton's interpolation polynomial: the line through the outer values, plus the deviation of the middle value from it, scaled
    by (x - x0) (x - x2) / ((x1 - x0) (x1 - x2))."""

    def __init__(self, knots: Sequence[int], size: int) -> None:
        self._beyond = size - knots[0]
        self._span = knots[-1] - knots[0]
        if len(knots) == 3:
            self._inner = knots[1] - knots[0]
            self._rise = (size - knots[0]) * (size - knots[2])
            self._run = (knots[1] - knots[0]) * (knots[1] - knots[2])

    def at(self, values: Sequence[int]) -> int:
        first, last = values[0], values[-1]
        value = first + (last - first) * self._beyond // self._span
        if len(values) == 3:
            bend = values[1] - (first + (last - first) * self._inner // self._span)
            if abs(bend) >= _ROUNDING_BYTES:
                value += bend * self._rise // self._run
        return max(value, 0)
