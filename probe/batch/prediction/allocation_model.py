"""Allocations of a few traced batch sizes -> those of any batch size."""

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
"""Kinds that depend on the batch size."""
_ROUNDING_BYTES = 2
"""An allocation whose bytes a sample are no whole number is off its line by less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocations:
    """What one training run allocates and frees, in order."""

    sizes: tuple[int, ...]
    """Bytes of every allocation."""
    kinds: tuple[Kind, ...]
    order: tuple[int, ...]
    """k + 1 where allocation k is made, -(k + 1) where it is freed; frees without an allocation between them are sorted."""

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.kinds):
            raise ValueError(f"{len(self.sizes)} sizes, but {len(self.kinds)} kinds")
        if [index for index in self.order if index > 0] != list(range(1, len(self.sizes) + 1)):
            raise ValueError("allocations are made once each, in their order")

    def live_peak(self) -> tuple[int, Mapping[Kind, int]]:
        """The largest sum of live allocations, and what it is made of."""
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
        parts: dict[Kind, int] = defaultdict(int)
        for step in self.order[: peak_at + 1]:
            index = abs(step) - 1
            parts[self.kinds[index]] += sizes[index] if step > 0 else -sizes[index]
        return peak, {kind: parts[kind] for kind in KINDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace(Allocations):
    """What a training run with micro-batches of one size allocated and freed."""

    micro_batch: int
    """Samples that the model sees at once."""
    num_training: int
    """Allocations before the evaluation step, which sees the whole batch at once."""

    def is_like(self, other: Trace) -> bool:
        """Whether both are the same allocations in the same order, whatever their sizes."""
        return (self.order, self.kinds, self.num_training) == (other.order, other.kinds, other.num_training)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Traces of a few sizes, and what lies between and beyond them.

    A size that was traced is what its trace says. Any other one is interpolated, allocation by allocation, from the nearest
    traces that are alike: along a line where three of them lie on it, along a parabola where they do not. Where the nearest
    trace is like no other one, all of its allocations that depend on the batch grow alike, so that its peak lies on a line
    with that of the next one.
    """

    traces: tuple[Trace, ...]
    """One or more, of growing micro-batches."""

    def __post_init__(self) -> None:
        sizes = [trace.micro_batch for trace in self.traces]
        if not sizes or sizes != sorted(set(sizes)):
            raise ValueError(f"traced sizes must grow: {sizes}")

    def with_trace(self, trace: Trace) -> Fit:
        """As this one, which has not traced that size."""
        return Fit(traces=tuple(sorted((*self.traces, trace), key=lambda one: one.micro_batch)))

    def at(
        self, batch_size: int, *, gradient_accumulation: int = 1, traced_gradient_accumulation: int = 1
    ) -> Allocations:
        """Allocations of a batch of `batch_size` samples in `gradient_accumulation` micro-batches.

        The batch itself and the evaluation step have all of the batch's samples, everything else has one micro-batch's, of
        which the first is the largest. Raises ValueError below 1.
        """
        if batch_size < 1 or gradient_accumulation < 1:
            raise ValueError(
                f"batch size and accumulation are at least 1, not {batch_size} and {gradient_accumulation}"
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
        of_part = _Curve([knot.micro_batch for knot in knots], micro_batch)
        of_whole = _Curve([knot.micro_batch * traced_gradient_accumulation for knot in knots], batch_size)
        sizes = []
        for index, kind in enumerate(nearest.kinds):
            is_whole = kind == "data" or index >= nearest.num_training
            sizes.append((of_whole if is_whole else of_part).at([knot.sizes[index] for knot in knots]))
        return Allocations(sizes=tuple(sizes), kinds=nearest.kinds, order=nearest.order)

    def _scaled(self, trace: Trace, micro_batch: int, of_whole: Fraction) -> Allocations:
        """`trace`, whose batch becomes `of_whole` times as large, at another size."""
        others = [other for other in self.traces if other is not trace]
        of_part = Fraction(micro_batch, trace.micro_batch)
        if others:
            other = min(others, key=lambda other: abs(math.log(other.micro_batch / micro_batch)))
            (peak, parts), (other_peak, _) = trace.live_peak(), other.live_peak()
            growth = Fraction(other_peak - peak, other.micro_batch - trace.micro_batch)
            growing = sum(parts[kind] for kind in _GROWING)
            rise = growth * (micro_batch - trace.micro_batch)
            of_part = max(1 + rise / growing, Fraction(0)) if growing else of_part
        factors = {kind: of_part if kind in _GROWING else Fraction(1) for kind in KINDS} | {"data": of_whole}
        return Allocations(
            sizes=tuple(int(size * factors[kind]) for size, kind in zip(trace.sizes, trace.kinds, strict=True)),
            kinds=trace.kinds,
            order=trace.order,
        )

    def _knots(self, nearest: Trace, micro_batch: int) -> list[Trace]:
        """The traces to interpolate from: `nearest`, and up to two that are like it and next to it in size."""
        alike = [trace for trace in self.traces if trace.is_like(nearest)]
        by_distance = sorted(alike, key=lambda trace: abs(math.log(trace.micro_batch / micro_batch)))
        return sorted(by_distance[:3], key=lambda trace: trace.micro_batch)


class _Curve:
    """A line or a parabola through values at two or three sizes, read at another size, in whole numbers."""

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
