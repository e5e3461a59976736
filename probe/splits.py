"""Which samples are held out: seeded, stratified, and never both here and there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from probe.errors import DataError

if TYPE_CHECKING:
    import numpy as np


def hold_out_indices(
    num_samples: int,
    *,
    share: float,
    seed: int,
    labels: Sequence[int] | np.ndarray | None,
    in_time_order: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Divide the samples 0 .. num_samples - 1 into a rest and a held-out part of `share` of them, at least one in each.

    With `labels`, one class number a sample, both parts keep the classes' proportions. With `in_time_order` the held-out
    part is the tail, whatever the labels and the seed.

    Returns:
        (rest, held_out), each sorted, int64; together they are all samples, each once. Equal arguments give equal parts.

    Raises:
        DataError: fewer than two samples, a class with a single member, or a part too small to hold every class.
        ValueError: a share outside 0 to 1, or labels of another length: the caller's mistake.
    """
    import numpy as np

    if not 0 < share < 1:
        raise ValueError(f"a share lies between 0 and 1, not {share}")
    if num_samples < 2:
        raise DataError(f"A validation part cannot be held out of {num_samples} sample{'s' * (num_samples != 1)}.")
    num_held_out = min(max(1, round(share * num_samples)), num_samples - 1)
    if in_time_order:
        order = np.arange(num_samples, dtype=np.int64)
        return order[:-num_held_out], order[-num_held_out:]
    if labels is None:
        order = np.random.default_rng(seed).permutation(num_samples).astype(np.int64)
        return np.sort(order[num_held_out:]), np.sort(order[:num_held_out])
    classes = np.asarray(labels)
    if classes.shape != (num_samples,):
        raise ValueError(f"expected one label for each of {num_samples} samples, not shape {classes.shape}")
    return _stratified(classes, num_held_out, seed)


def _stratified(classes: np.ndarray, num_held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Written out here: importing scikit-learn for its splitter costs every worker process half as much as importing torch."""
    import numpy as np

    names, members, counts = np.unique(classes, return_inverse=True, return_counts=True)
    if counts.min() < 2:
        raise DataError(
            f"Class {names[counts.argmin()]} has a single sample, which cannot be both trained on and held out.",
            hint="Add samples of that class, leave it out, give a validation set, or set stratify=False in the Task.",
        )
    smaller = min(num_held_out, len(classes) - num_held_out)
    if smaller < len(names):
        raise DataError(
            f"{smaller} of {len(classes)} samples are too few to hold one of each of the {len(names)} classes.",
            hint="Choose another validation share, give a validation set, or set stratify=False in the Task.",
        )
    quotas = _quotas(counts, num_held_out)
    shuffled = np.random.default_rng(seed).permutation(len(classes)).astype(np.int64)
    by_class = shuffled[np.argsort(members[shuffled], kind="stable")]
    place_in_class = np.arange(len(classes)) - np.repeat(np.cumsum(counts) - counts, counts)
    held_out = place_in_class < np.repeat(quotas, counts)
    return np.sort(by_class[~held_out]), np.sort(by_class[held_out])


def _quotas(counts: np.ndarray, num_held_out: int) -> np.ndarray:
    """How many of each class are held out: proportional, at least one on either side, `num_held_out` in all.

    Exact shares are rounded down and what is missing goes to those rounded off most (largest remainders).
    """
    import numpy as np

    exact = counts * (num_held_out / counts.sum())
    quotas: np.ndarray = np.clip(np.floor(exact).astype(np.int64), 1, counts - 1)
    while quotas.sum() < num_held_out:
        quotas[np.where(quotas < counts - 1, exact - quotas, -np.inf).argmax()] += 1
    while quotas.sum() > num_held_out:
        quotas[np.where(quotas > 1, exact - quotas, np.inf).argmin()] -= 1
    return quotas
