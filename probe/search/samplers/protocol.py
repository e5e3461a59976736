"""The interface of samplers."""

from __future__ import annotations

from typing import Literal, Protocol

from probe.search.records.search import ParamValue
from probe.search.space.space import Positions

Verdict = Literal["scored", "infeasible", "lost"]
"""How a rung of a trial ended.

scored: with a value of the objective.
infeasible: out of memory or diverged; the sampler should learn to avoid such configurations.
lost: for a reason that says nothing about the configuration.
"""


class Sampler(Protocol):
    """Chooses positions in a space, for trials in ascending order of their numbers."""

    @property
    def name(self) -> str: ...

    @property
    def exhausted(self) -> bool:
        """Whether no configuration is left to choose."""

    def ask(self, number: int, *, at: Positions | None = None) -> dict[str, ParamValue]:
        """The positions of trial `number`: `at` if given, otherwise chosen by the sampler."""

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        """Report the end of a rung of trial `number`, for each rung in turn.

        Args:
            verdict: how the rung ended. A trial that was scored may be infeasible on a later rung.
            value: the score. `scored` without a value (the objective is undefined) counts as infeasible.
        """

    def discard(self, number: int) -> None:
        """Forget the last `ask`, whose configuration was tried before. The same number is asked for again."""
