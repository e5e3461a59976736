"""How much a hyperparameter matters, as a record."""

from __future__ import annotations

from dataclasses import dataclass

MIN_COMPARED_TRIALS = 10
"""With fewer, nothing is said about which hyperparameters matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    share: float
    """What the hyperparameter explains of the variation of the ranks among the trials that have it."""
    num_trials: int
    """That have it, among those compared."""
    num_compared: int

    @property
    def is_partial(self) -> bool:
        """Whether some of the trials compared do not have it."""
        return self.num_trials < self.num_compared
