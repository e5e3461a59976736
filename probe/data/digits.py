"""scikit-learn's handwritten digits: 1,797 images of 8 x 8 pixels, which need no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch

from probe.data.protocol import DataRequest, LoadedData
from probe.splits import hold_out_indices

KEYWORDS: tuple[str, ...] = ()
_FILE = ("datasets", "data", "digits.csv.gz")
_TEST_FRACTION = 0.2
_TEST_SEED = 0
"""The test split does not depend on the seed of a search, so that the scores of different searches are comparable."""


def load(request: DataRequest) -> LoadedData:
    """Images (N, 1, 8, 8) scaled to 0 .. 1; a stratified fifth of them is the test split."""
    table = torch.from_numpy(_read_table())
    images, classes = table[:, :-1].float().reshape(-1, 1, 8, 8) / 16, table[:, -1].long()
    train, test = (
        torch.from_numpy(rows)
        for rows in hold_out_indices(len(classes), fraction=_TEST_FRACTION, seed=_TEST_SEED, labels=classes.numpy())
    )
    return LoadedData(
        train=(images[train], classes[train]),
        test=(images[test], classes[test]),
        num_outputs=10,
        input_shape=(1, 8, 8),
    )


def _read_table() -> np.ndarray:
    """One digit per row: 64 pixels from 0 to 16, then the class; float64, (1797, 65).

    scikit-learn's file is read directly if it is found: importing scikit-learn costs every worker process half as much time
    as importing torch.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    file = next((path for folder in folders if (path := Path(folder, *_FILE)).is_file()), None)
    if file is not None:
        return np.loadtxt(file, delimiter=",")
    from sklearn import datasets

    digits = datasets.load_digits()
    return np.column_stack([digits.data, digits.target])
