"""Samples that occur in more than one split of a task's data. Pure.

A score on samples that were used for training, or to choose the best trial, does not estimate the score on new samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from probe.loading.records import Overlap

TOLERATED_FRACTION = 0.05
"""Up to this fraction of the smaller split, shared samples are a warning, for example after an off-by-one slice."""
COPIED_FRACTION = 0.95
"""A split is a copy if at least this fraction of its samples are equal to samples of another split, and"""
LEAST_DISTINCT_FRACTION = 0.5
"""at least this fraction of that other split's samples are distinct. Few distinct values would occur in any split."""

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Positions = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitSamples:
    """Positions and hashes of the samples of one split."""

    num_samples: int
    places: Mapping[str, Positions]
    """Data set or memory -> positions of the samples in it. Samples with the same position are identical."""
    rows: Hashes
    """Hash of each sample or of some, equal for equal samples."""


def find_overlaps(splits: Mapping[str, SplitSamples]) -> tuple[Overlap, ...]:
    """Pairs of splits that share samples, in the order of the splits, each with its more serious kind of overlap."""
    found = []
    for (first, one), (second, other) in combinations(splits.items(), 2):
        pair = [overlap for overlap in (_same(first, one, second, other), _equal(first, one, second, other)) if overlap]
        if pair:
            found.append(max(pair, key=lambda overlap: (overlap.is_error, overlap.kind == "same")))
    return tuple(found)


def _same(first: str, one: SplitSamples, second: str, other: SplitSamples) -> Overlap | None:
    spaces = other.places.keys() & one.places.keys()
    shared = sum(int(np.isin(other.places[space], one.places[space]).sum()) for space in spaces)
    if not shared:
        return None
    return Overlap(
        first=first,
        second=second,
        kind="same",
        num_shared=shared,
        num_compared=other.num_samples,
        is_error=shared > TOLERATED_FRACTION * min(one.num_samples, other.num_samples),
    )


def _equal(first: str, one: SplitSamples, second: str, other: SplitSamples) -> Overlap | None:
    shared = int(np.isin(other.rows, one.rows).sum())
    if not shared:
        return None
    is_distinct = len(np.unique(one.rows)) >= LEAST_DISTINCT_FRACTION * len(one.rows)
    return Overlap(
        first=first,
        second=second,
        kind="equal",
        num_shared=shared,
        num_compared=len(other.rows),
        is_error=shared >= COPIED_FRACTION * len(other.rows) and is_distinct,
    )
