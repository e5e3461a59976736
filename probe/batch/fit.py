"""Allocations of a few traced batch sizes -> those of any batch size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["weights", "gradients", "optimizer_state", "data", "activations", "scratch"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What one training run with micro-batches of one size allocated and freed, in order."""

    micro_batch: int
    """Samples that the model sees at once."""
    sizes: tuple[int, ...]
    """Bytes of every allocation."""
    kinds: tuple[Kind, ...]
    order: tuple[int, ...]
    """k + 1 where allocation k is made, -(k + 1) where it is freed; frees without an allocation between them are sorted."""
    num_training: int
    """Allocations before the evaluation step, which sees the whole batch at once."""

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.kinds):
            raise ValueError(f"{len(self.sizes)} sizes, but {len(self.kinds)} kinds")
        if [index for index in self.order if index > 0] != list(range(1, len(self.sizes) + 1)):
            raise ValueError("allocations are made once each, in their order")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The same allocations for any size: each one a line through two traces, bent where a third trace was off it."""

    order: tuple[int, ...]
    kinds: tuple[Kind, ...]
    micro_batches: tuple[int, int, int]
    """The traced sizes. The third was traced over a part of the run, and checks the lines there."""
    sizes: tuple[int, ...]
    """Bytes at the first traced size."""
    growths: tuple[int, ...]
    """Bytes more at the second."""
    num_training: int
    """Allocations before the evaluation step."""
    bends: tuple[tuple[int, int], ...] = ()
    """(allocation, bytes by which the third trace was off its line) where that is more than rounding: a parabola takes the
    line's place."""

    def sizes_at(self, batch_size: int, *, accumulation: int = 1, traced_accumulation: int = 1) -> list[int]:
        """Bytes of every allocation for a batch of `batch_size` in `accumulation` micro-batches.

        The batch itself and the evaluation step have all of its samples, everything else has one micro-batch's, of which
        the first is the largest. Exact for the traced sizes, and for others wherever the traces were on their lines.
        Raises ValueError below 1.
        """
        if batch_size < 1 or accumulation < 1:
            raise ValueError(f"batch size and accumulation are at least 1, not {batch_size} and {accumulation}")
        of_part = self._steps_along(-(-batch_size // accumulation), 1)
        of_whole = self._steps_along(batch_size, traced_accumulation)
        steps = [of_whole if kind == "data" else of_part for kind in self.kinds[: self.num_training]]
        steps += [of_whole] * (len(self.kinds) - self.num_training)
        at = [
            size + growth * beyond // span if growth else size
            for size, growth, (beyond, span, _, _) in zip(self.sizes, self.growths, steps, strict=True)
        ]
        for index, bend in self.bends:
            _, _, rise, run = steps[index]
            at[index] += bend * rise // run
        return [max(size, 0) for size in at]

    def _steps_along(self, samples: int, scale: int) -> tuple[int, int, int, int]:
        """Where `samples` lie on the line through the first two traces (beyond, span), and on the parabola's bend (rise,
        run): 0 at the first two traces and 1 at the third. Traced sizes are `scale` times the micro-batches."""
        first, second, third = (scale * size for size in self.micro_batches)
        return (
            samples - first,
            second - first,
            (samples - first) * (samples - second),
            (third - first) * (third - second),
        )

    def live_peak(self, sizes: Sequence[int]) -> tuple[int, Mapping[Kind, int]]:
        """The largest sum of live allocations that have these `sizes`, and what it is made of."""
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


class NotAlikeError(ValueError):
    """Traces of different batch sizes are not the same allocations in the same order."""


def fit(first: Trace, second: Trace, check: Trace) -> Fit:
    """The lines through two whole traces; `check` is the beginning of a third, or all of it.

    Raises NotAlikeError where the batch size changes what is allocated or when, so that no line can be drawn. Raises
    ValueError where the traced sizes do not grow.
    """
    if not first.micro_batch < second.micro_batch < check.micro_batch:
        raise ValueError(f"traced sizes must grow: {[trace.micro_batch for trace in (first, second, check)]}")
    if (first.order, first.kinds, first.num_training) != (second.order, second.kinds, second.num_training):
        raise NotAlikeError(_difference(first, second))
    checked = max((place + 1 for place, step in enumerate(check.order) if step > 0), default=0)  # it ends with frees
    if check.order[:checked] != first.order[:checked]:
        raise NotAlikeError(_difference(first, check))
    growths = tuple(later - sooner for sooner, later in zip(first.sizes, second.sizes, strict=True))
    span = second.micro_batch - first.micro_batch
    reach = check.micro_batch - first.micro_batch
    noise = reach * (check.micro_batch - second.micro_batch)  # what one byte a pair of samples makes; less is rounding
    bends = []
    for index, size in enumerate(check.sizes):
        bend = size - (first.sizes[index] + growths[index] * reach // span)
        if abs(bend) >= noise:
            bends.append((index, bend))
    return Fit(
        order=first.order,
        kinds=first.kinds,
        micro_batches=(first.micro_batch, second.micro_batch, check.micro_batch),
        sizes=first.sizes,
        growths=growths,
        num_training=first.num_training,
        bends=tuple(bends),
    )


def _difference(one: Trace, other: Trace) -> str:
    counts = (
        f"{len(one.sizes)} and {len(other.sizes)} allocations" if len(one.sizes) != len(other.sizes) else "their order"
    )
    return f"micro-batches of {one.micro_batch} and {other.micro_batch} samples do not do the same work ({counts})"
