"""Which samples are held out: seeded and stratified."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probe.errors import DataError


def hold_out_indices(
    num_samples: int,
    *,
    fraction: float,
    seed: int,
    labels: Sequence[int] | np.ndarray | None,
    in_time_order: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Divide samples 0 to num_samples - 1 into those to keep and those to hold out, at least one each.

    Args:
        num_samples: number of samples.
        fraction: fraction to hold out, between 0 and 1.
        seed: seed of the random choice.
        labels: class number of each sample, to keep the proportions of the classes; None for a plain random choice.
        in_time_order: hold out the last samples, whatever the labels and the seed.

    Returns:
        (rest, held_out), sorted int64 arrays that together contain each sample once. Equal arguments give equal results.

    Raises:
        DataError: fewer than two samples, a class with a single sample, or too few samples to hold every class.
        ValueError: an invalid fraction or number of labels.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1, not {fraction}")
    if num_samples < 2:
        raise DataError(f"A validation split cannot be held out of {num_samples} sample{'s' * (num_samples != 1)}.")
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
    """Stratified random choice. Implemented here because importing scikit-learn takes half as long as importing torch."""
    _check_members(classes)
    names, members, counts = np.unique(classes, return_inverse=True, return_counts=True)
    smaller = min(num_held_out, len(classes) - num_held_out)
    if smaller < len(names):
        raise DataError(
            f"{smaller} of {len(classes)} samples are too few to contain each of the {len(names)} classes.",
            hint="Change the validation or test fraction, provide a validation set, or set stratify=False in the Task.",
        )
    quotas = _quotas(counts, num_held_out)
    by_class, place_in_class = _by_class(members, counts, seed)
    held_out = place_in_class < np.repeat(quotas, counts)
    return np.sort(by_class[~held_out]), np.sort(by_class[held_out])


def _quotas(counts: np.ndarray, num_held_out: int) -> np.ndarray:
    """Number of samples to hold out of each class: proportional, `num_held_out` in total, at least one on either side. Exact
    quotas are rounded down, and the rest goes to the classes with the largest remainders."""
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
    """The fold, from 0 to num_folds - 1, of which each sample is a validation sample. Sizes of folds differ by at most one
    sample, with `labels` by at most one of each class. Equal arguments give equal folds. Raises DataError for fewer samples
    than folds, and for a class with a single sample, on which one fold could not train."""
    if num_samples < num_folds:
        raise DataError(f"{num_samples} samples cannot be divided into {num_folds} folds.")
    classes = np.zeros(num_samples, dtype=np.int64) if labels is None else np.asarray(labels)
    if labels is not None:
        _check_members(classes)
    _, members, counts = np.unique(classes, return_inverse=True, return_counts=True)
    by_class, _ = _by_class(members, counts, seed)
    folds = np.empty(num_samples, dtype=np.int64)
    folds[by_class] = np.arange(num_samples) % num_folds  # assigned in turn, class after class
    return folds


def subset_indices(num_samples: int, *, count: int, seed: int, labels: Sequence[int] | np.ndarray | None) -> np.ndarray:
    """`count` random samples, sorted. With `labels`, the proportions of the classes are kept, with one sample of each class as
    soon as `count` allows it. A larger count includes all samples of a smaller one, so that a trial sees the same samples on
    growing fractions of the data."""
    classes = np.zeros(num_samples, dtype=np.int64) if labels is None else np.asarray(labels)
    _, members, counts = np.unique(classes, return_inverse=True, return_counts=True)
    by_class, place_in_class = _by_class(members, counts, seed)
    how_far = place_in_class / np.repeat(counts, counts)
    return np.sort(by_class[np.argsort(how_far, kind="stable")[:count]])


def _by_class(members: np.ndarray, counts: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """All samples, shuffled and sorted by class, and the position of each in its class, from 0."""
    shuffled = np.random.default_rng(seed).permutation(len(members)).astype(np.int64)
    by_class = shuffled[np.argsort(members[shuffled], kind="stable")]
    return by_class, np.arange(len(members)) - np.repeat(np.cumsum(counts) - counts, counts)


def _check_members(classes: np.ndarray) -> None:
    names, counts = np.unique(classes, return_counts=True)
    if counts.min() < 2:
        raise DataError(
            f"Class {names[counts.argmin()]} has a single sample, which cannot be both trained on and held out.",
            hint="Add samples of that class, remove it, provide a validation set, or set stratify=False in the Task.",
        )
