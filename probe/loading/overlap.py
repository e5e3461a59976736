"""Samples that are in more than one part of a task's data. Pure.

A score on samples that were trained on, or that decided which trial wins, says nothing about new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from probe.loading.records import Overlap

TOLERATED_SHARE = 0.05
"""Of the smaller part: fewer samples that lie in both parts, like the one of a slice that begins too early, are a warning."""
COPIED_SHARE = 0.95
"""Of a part: so many samples that are equal to another part's are copies of them,"""
LEAST_DISTINCT_SHARE = 0.5
"""where the other part's samples are as different from each other as this. Of few different values, all occur anywhere."""

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Positions = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """What is known of the samples of one part."""

    num_samples: int
    places: Mapping[str, Positions]
    """Where samples lie: a data set or a memory -> their positions in it. Equal places are the same sample."""
    rows: Hashes
    """Of each sample, or of some: equal for equal samples."""


def find_overlaps(parts: Mapping[str, Part]) -> tuple[Overlap, ...]:
    """Every pair of parts that share samples, in the parts' order. A pair is told once, by what more samples have in common."""
    found = []
    for (first, one), (second, other) in combinations(parts.items(), 2):
        pair = [overlap for overlap in (_same(first, one, second, other), _equal(first, one, second, other)) if overlap]
        if pair:
            found.append(max(pair, key=lambda overlap: (overlap.is_error, overlap.kind == "same")))
    return tuple(found)


def _same(first: str, one: Part, second: str, other: Part) -> Overlap | None:
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
        is_error=shared > TOLERATED_SHARE * min(one.num_samples, other.num_samples),
    )


def _equal(first: str, one: Part, second: str, other: Part) -> Overlap | None:
    shared = int(np.isin(other.rows, one.rows).sum())
    if not shared:
        return None
    is_distinct = len(np.unique(one.rows)) >= LEAST_DISTINCT_SHARE * len(one.rows)
    return Overlap(
        first=first,
        second=second,
        kind="equal",
        num_shared=shared,
        num_compared=len(other.rows),
        is_error=shared >= COPIED_SHARE * len(other.rows) and is_distinct,
    )
