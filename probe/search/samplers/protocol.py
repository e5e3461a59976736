"""What a search asks of whoever decides what is tried."""

from __future__ import annotations

from typing import Literal, Protocol

from probe.search.records.search import ParamValue
from probe.search.space.space import Positions

Verdict = Literal["scored", "infeasible", "lost"]
"""infeasible: out of memory or diverged, which the sampler should learn to avoid. lost: says nothing about the
configuration."""


class Sampler(Protocol):
    """Decides positions in a space. Trials are asked for in the order of their numbers."""

    @property
    def name(self) -> str: ...

    @property
    def exhausted(self) -> bool:
        """There is nothing left to ask for, only to be given."""

    def ask(self, number: int, *, at: Positions | None = None) -> dict[str, ParamValue]:
        """Positions for trial `number`: the sampler's choice, or those given."""

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        """The end of a rung of a trial: of the first one, and then of each that it climbs to. A trial that was scored
        may turn out infeasible later. `value` None with "scored": the objective has no value yet, which counts as
        infeasible."""

    def discard(self, number: int) -> None:
        """Forget the last ask, a configuration that was tried before; the number will be asked for again."""
