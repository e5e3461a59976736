"""The hyperparameters of data sets, and the values that they can have. Imports no PyTorch."""

from __future__ import annotations

from probe.limits import Rules, Whole

SERIES: Rules = {"window": Whole(1, 1_000_000)}
"""The number of past steps that a forecast is made from."""
TEXT: Rules = {"vocabulary": Whole(1, 10_000_000), "max_length": Whole(1, 1_000_000)}
"""The number of words with their own id, and the number of words after which a text is truncated."""
