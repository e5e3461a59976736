"""scikit-learn's handwritten digits: 1,797 images of 8 x 8 pixels, which nobody has to download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch

from probe.data.loaded import LoadedData
from probe.splits import hold_out_indices

_DIGITS_FILE = ("datasets", "data", "digits.csv.gz")
_DIGITS_TEST_SHARE = 0.2
_DIGITS_TEST_SEED = 0
"""The test part of digits is the same whatever the seed of a search: scores of different searches are comparable."""


def load_digits() -> LoadedData:
    """Images scaled to 0 .. 1, a stratified fifth of them as test part."""
    table = torch.from_numpy(_digits_table())
    images, classes = table[:, :-1].float().reshape(-1, 1, 8, 8) / 16, table[:, -1].long()
    train, test = (
        torch.from_numpy(part)
        for part in hold_out_indices(
            len(classes), fraction=_DIGITS_TEST_SHARE, seed=_DIGITS_TEST_SEED, labels=classes.numpy()
        )
    )
    return LoadedData(
        train=(images[train], classes[train]),
        test=(images[test], classes[test]),
        num_outputs=10,
        input_shape=(1, 8, 8),
    )


def _digits_table() -> np.ndarray:
    """scikit-learn's digits, one a row: 64 pixels from 0 to 16, then the class; float64, (1797, 65).

    Its file is read past it where that can be found: importing scikit-learn costs every worker process half as much as
    importing torch.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    file = next((path for folder in folders if (path := Path(folder, *_DIGITS_FILE)).is_file()), None)
    if file is not None:
        return np.loadtxt(file, delimiter=",")
    from sklearn import datasets

    digits = datasets.load_digits()
    return np.column_stack([digits.data, digits.target])
