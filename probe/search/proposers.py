"""Registry of proposers, which decide on trials after the sampler (`search.refine` in a recipe).

The module of a proposer has two functions:

    make_proposer(refine, settings, found, executor) -> Proposer
    describe(refine, full_epochs) -> sentences for `probe space`
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from probe.recipe.schema import Recipe

if TYPE_CHECKING:
    from probe.search.executors.protocol import SearchExecutor
    from probe.search.results import StageResults
    from probe.search.settings import SearchSettings
    from probe.search.study.plan import Proposer

PROPOSERS = {"hypergradient": "probe.search.hypergradient.refiner"}
"""search.refine.method -> module, imported only if a recipe asks for it."""


def make_proposer(settings: SearchSettings, found: StageResults, executor: SearchExecutor) -> Proposer | None:
    """The proposer that the recipe asks for, or None. `found` must hold the space of the search."""
    refine = settings.recipe.search.refine
    if refine is None:
        return None
    proposer: Proposer = _module_of(refine.method).make_proposer(refine, settings, found, executor)
    return proposer


def describe_proposer(recipe: Recipe, full_epochs: int) -> tuple[str, ...]:
    """What `probe space` says about the proposer; empty if the recipe asks for none."""
    refine = recipe.search.refine
    if refine is None:
        return ()
    sentences: tuple[str, ...] = _module_of(refine.method).describe(refine, full_epochs)
    return sentences


def _module_of(method: str) -> Any:
    return import_module(PROPOSERS[method])
