"""Which samples of a data set make the costliest batches. Pure: sizes of samples in, orders of their indices out.

What makes a batch expensive depends on the collate function and the model: the sum of the sizes where samples are joined, the
largest one where they are padded, the number of entries that are no padding where the model leaves it out. So samples are
ordered by each of these, and a size is tried with the first samples of every order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probe.batch.records import Part, SampleCoverage

MAX_MEASURES = 3
"""A fourth order takes samples from all of these in turn."""
TOTAL = "total size"
COMBINED = "all of these together"
_NUM_COMPARED = 32
"""Samples at the top of an order by which two orders are compared."""
_ALIKE = 1.05
"""An order is redundant if another one's first samples have this share of what its own have."""

Column = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleRanking:
    """The samples of one part of the data, the costliest first. Sent to worker processes in place of samples."""

    coverage: SampleCoverage
    orders: tuple[Indices, ...] = ()
    """Indices of the measured samples, ordered by each measure of `coverage.ranked_by`; none where the samples are alike."""

    def costliest(self, size: int) -> tuple[Indices, ...]:
        """Indices of `size` samples for every order, at least one. Where fewer were measured, they are repeated."""
        if self.orders:
            return tuple(np.resize(order, size) for order in self.orders)
        return (np.arange(size) % self.coverage.num_samples,)


def rank(
    part: Part,
    columns: Mapping[str, Column],
    *,
    measured: Indices,
    num_samples: int,
    unmeasured: tuple[str, ...] = (),
) -> SampleRanking:
    """Order samples by the measures that differ between them.

    Args:
        columns: measure -> its value for every measured sample, shape (measured,): counts, never negative. The first one counts
            most.
        measured: indices of the measured samples, shape (measured,).
        num_samples: of the whole part.
        unmeasured: names of types whose size is unknown.
    """
    chosen: dict[str, Indices] = {}
    rest = {name: column for name, column in columns.items() if len(column) and column.max() > column.min()}
    while rest and len(chosen) < MAX_MEASURES:
        name = max(rest, key=lambda name: _missing(rest[name], chosen))
        column = rest.pop(name)
        if _missing(column, chosen) < _ALIKE:
            break
        chosen[name] = np.argsort(-column, kind="stable")
    if len(chosen) > 1:
        in_turn = np.stack(list(chosen.values()), axis=1).ravel()
        _, first = np.unique(in_turn, return_index=True)
        chosen[COMBINED] = in_turn[np.sort(first)]
    return SampleRanking(
        coverage=SampleCoverage(
            part=part,
            num_samples=num_samples,
            num_measured=len(measured),
            ranked_by=tuple(chosen),
            unmeasured=unmeasured,
        ),
        orders=tuple(measured[order] for order in chosen.values()),
    )


def is_length(values: Column, largest_extent: float) -> bool:
    """Whether integers, one for each sample, can be lengths: none is above the largest dimension of the samples, and some
    come near it. Class numbers rarely do."""
    return bool(values.min() >= 0 and largest_extent / 2 < values.max() <= largest_extent)


def _missing(column: Column, chosen: Mapping[str, Indices]) -> float:
    """How much larger the column's own largest values are than those of the samples that the chosen orders begin with."""
    num_compared = min(_NUM_COMPARED, max(1, len(column) // 4))
    own = np.sort(column)[-num_compared:].sum()
    held = max((column[order[:num_compared]].sum() for order in chosen.values()), default=0.0)
    return float(own / held) if held > 0 else float("inf")
