"""Who decides configurations after the sampler has had its trials: the protocol that a study knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from probe.search.records.search import ParamValue, Refinement
from probe.search.study.state import SearchState

ProposerEnd = Literal["refined", "epochs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    params: Mapping[str, ParamValue]
    seed: int
    """The base's: the same initial weights and batches, so that a difference is the hyperparameters'."""
    refinement: Refinement


class Proposer(Protocol):
    """Decides from the study's state alone, so that a resumed search decides alike."""

    @property
    def ended_by(self) -> ProposerEnd | None:
        """Why there are no more proposals; None while there may be."""

    @property
    def warning(self) -> str | None:
        """What the user should know about the end."""

    def is_due(self, state: SearchState) -> bool:
        """Whether the next trial is this proposer's to decide."""

    def propose(self, state: SearchState, *, epochs_left: float) -> Proposal | None:
        """The next trial, or None at the end. Called only while no trial runs."""
