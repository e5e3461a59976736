"""Order samples such that the first ones make the largest batches. Pure: sizes of samples in, orders of their indices out.

The size of a batch depends on the collate function and the model: on the sum of the sizes if samples are concatenated, on the
largest size if they are padded, and on the number of non-zero entries if the model skips padding. So samples are ordered by
each of these measures, and a batch size is tried with the first samples of each order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probe.batch.records import SampleCoverage, Split

MAX_MEASURES = 3
"""Maximum number of measures. One more order takes samples from all of them in turn."""
TOTAL = "total size"
COMBINED = "all of these together"
_NUM_COMPARED = 32
"""Number of first samples by which two orders are compared."""
_ALIKE = 1.05
"""An order is redundant if the values of its first samples exceed those of another order's by less than this factor."""

Column = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleRanking:
    """The samples of one split, largest first. It is sent to worker processes instead of samples."""

    coverage: SampleCoverage
    orders: tuple[Indices, ...] = ()
    """Indices of the measured samples, ordered by each measure in `coverage.ranked_by`; empty if all have the same size."""

    def largest(self, size: int) -> tuple[Indices, ...]:
        """Return the indices of `size` samples for each order, at least one order. Indices repeat if fewer were measured."""
        if self.orders:
            return tuple(np.resize(order, size) for order in self.orders)
        return (np.arange(size) % self.coverage.num_samples,)


def rank(
    split: Split,
    columns: Mapping[str, Column],
    *,
    measured: Indices,
    num_samples: int,
    unmeasured: tuple[str, ...] = (),
) -> SampleRanking:
    """Order samples by the measures that differ between them. `columns` maps each measure to non-negative values of the
    `measured` indices, shape (num_measured,); the first measure has priority."""
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
            split=split,
            num_samples=num_samples,
            num_measured=len(measured),
            ranked_by=tuple(chosen),
            unmeasured=unmeasured,
        ),
        orders=tuple(measured[order] for order in chosen.values()),
    )


def is_length(values: Column, largest_extent: float) -> bool:
    """Return whether integers, one per sample, may be lengths rather than class labels: none exceeds the largest dimension of
    the samples, and the largest is more than half of it."""
    return bool(values.min() >= 0 and largest_extent / 2 < values.max() <= largest_extent)


def _missing(column: Column, chosen: Mapping[str, Indices]) -> float:
    """Return the ratio of the column's largest values to the values of the first samples in the best chosen order."""
    num_compared = min(_NUM_COMPARED, max(1, len(column) // 4))
    own = np.sort(column)[-num_compared:].sum()
    held = max((column[order[:num_compared]].sum() for order in chosen.values()), default=0.0)
    return float(own / held) if held > 0 else float("inf")
