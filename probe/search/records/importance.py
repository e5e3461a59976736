"""How much a hyperparameter matters, as a record."""

from __future__ import annotations

from dataclasses import dataclass

MIN_COMPARED_TRIALS = 10
"""Importances are not computed from fewer trials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """How much a hyperparameter matters."""

    share: float
    """Fraction of the variation of the ranks, among the trials that have the hyperparameter, that it explains."""
    num_trials: int
    """Number of compared trials that have the hyperparameter."""
    num_compared: int

    @property
    def is_partial(self) -> bool:
        """Whether some of the compared trials do not have the hyperparameter."""
        return self.num_trials < self.num_compared
