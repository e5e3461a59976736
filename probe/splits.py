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
    fraction: float,
    seed: int,
    labels: Sequence[int] | np.ndarray | None,
    in_time_order: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Divide the samples 0 .. num_samples - 1 into a rest and a held-out part of `fraction` of them, at least one in each.

    With `labels`, one class number a sample, both parts keep the classes' proportions. With `in_time_order` the held-out
    part is the tail, whatever the labels and the seed.

    Returns:
        (rest, held_out), each sorted, int64; together they are all samples, each once. Equal arguments give equal parts.

    Raises:
        DataError: fewer than two samples, a class with a single member, or a part too small to hold every class.
        ValueError: a share outside 0 to 1, or labels of another length: the caller's mistake.
    """
    import numpy as np

    if not 0 < fraction < 1:
        raise ValueError(f"a share lies between 0 and 1, not {fraction}")
    if num_samples < 2:
        raise DataError(f"A validation part cannot be held out of {num_samples} sample{'s' * (num_samples != 1)}.")
    num_held_out = min(max(1, round(fraction * num_samples)), num_samples - 1)
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

    _check_members(classes)
    names, members, counts = np.unique(classes, return_inverse=True, return_counts=True)
    smaller = min(num_held_out, len(classes) - num_held_out)
    if smaller < len(names):
        raise DataError(
            f"{smaller} of {len(classes)} samples are too few to hold one of each of the {len(names)} classes.",
            hint="Choose another validation or test share, give a validation set, or set stratify=False in the Task.",
        )
    quotas = _quotas(counts, num_held_out)
    by_class, place_in_class = _by_class(members, counts, seed)
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


def fold_numbers(
    num_samples: int, *, num_folds: int, seed: int, labels: Sequence[int] | np.ndarray | None
) -> np.ndarray:
    """For each sample the fold, 0 .. num_folds - 1, whose validation part it belongs to.

    Folds differ by at most one sample, and with `labels` by at most one sample of each class. Equal arguments, equal folds.

    Raises DataError for fewer samples than folds, and for a class with a single member, which one fold could not train on.
    """
    import numpy as np

    if num_samples < num_folds:
        raise DataError(f"{num_samples} samples cannot be divided into {num_folds} folds.")
    classes = np.zeros(num_samples, dtype=np.int64) if labels is None else np.asarray(labels)
    if labels is not None:
        _check_members(classes)
    _, members, counts = np.unique(classes, return_inverse=True, return_counts=True)
    by_class, _ = _by_class(members, counts, seed)
    folds = np.empty(num_samples, dtype=np.int64)
    folds[by_class] = np.arange(num_samples) % num_folds  # dealt out class after class
    return folds


def subset_indices(num_samples: int, *, count: int, seed: int, labels: Sequence[int] | np.ndarray | None) -> np.ndarray:
    """`count` of the samples, sorted, with the classes' proportions where `labels` are given, and one of each class as soon as
    `count` allows it. A larger count holds all samples of a smaller one: trials on growing shares see the same samples."""
    import numpy as np

    classes = np.zeros(num_samples, dtype=np.int64) if labels is None else np.asarray(labels)
    _, members, counts = np.unique(classes, return_inverse=True, return_counts=True)
    by_class, place_in_class = _by_class(members, counts, seed)
    how_far = place_in_class / np.repeat(counts, counts)
    return np.sort(by_class[np.argsort(how_far, kind="stable")[:count]])


def _by_class(members: np.ndarray, counts: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """All samples, shuffled, class after class; and the place of each of them in its class, from 0."""
    import numpy as np

    shuffled = np.random.default_rng(seed).permutation(len(members)).astype(np.int64)
    by_class = shuffled[np.argsort(members[shuffled], kind="stable")]
    return by_class, np.arange(len(members)) - np.repeat(np.cumsum(counts) - counts, counts)


def _check_members(classes: np.ndarray) -> None:
    import numpy as np

    names, counts = np.unique(classes, return_counts=True)
    if counts.min() < 2:
        raise DataError(
            f"Class {names[counts.argmin()]} has a single sample, which cannot be both trained on and held out.",
            hint="Add samples of that class, leave it out, give a validation set, or set stratify=False in the Task.",
        )
