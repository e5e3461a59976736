"""Makes samplers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from probe.errors import RecipeError, unknown_name
from probe.recipe.schema import SamplerName
from probe.search.records.objective import Mode
from probe.search.samplers.bayesian import BayesianSampler
from probe.search.samplers.optuna_samplers import GridSampler, OptunaSampler, RandomSampler, cma_es, evolutionary, qmc
from probe.search.samplers.protocol import Sampler
from probe.search.samplers.tpe import TPESampler
from probe.search.space.space import Space


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerOptions:
    """The arguments of `make_sampler`."""

    space: Space
    mode: Mode
    seed: int
    num_rungs: int


Make = Callable[[SamplerOptions], Sampler]

SAMPLERS: Mapping[SamplerName, Make] = {
    "tpe": lambda given: TPESampler(given.space, mode=given.mode, seed=given.seed),
    "random": lambda given: RandomSampler(given.space, seed=given.seed),
    "grid": lambda given: GridSampler(given.space, seed=given.seed),
    "gp": lambda given: BayesianSampler(given.space, mode=given.mode, seed=given.seed, num_rungs=given.num_rungs),
    "cma-es": lambda given: OptunaSampler("cma-es", cma_es, given.space, mode=given.mode, seed=given.seed),
    "evolutionary": lambda given: OptunaSampler(
        "evolutionary", evolutionary, given.space, mode=given.mode, seed=given.seed
    ),
    "qmc": lambda given: OptunaSampler("qmc", qmc, given.space, mode=given.mode, seed=given.seed),
}
SAMPLER_NAMES: tuple[str, ...] = ("auto", *SAMPLERS)


def make_sampler(name: str, space: Space, *, mode: Mode, seed: int, num_rungs: int = 1) -> Sampler:
    """Make the sampler `name`; `auto` makes `gp`, without the choice of `auto_sampler`. Raises RecipeError for an
    unknown name, and for a grid that is too large."""
    for known, make in SAMPLERS.items():
        if known == ("gp" if name == "auto" else name):
            return make(SamplerOptions(space=space, mode=mode, seed=seed, num_rungs=num_rungs))
    message, hint = unknown_name("sampler", name, SAMPLER_NAMES)
    raise RecipeError(message, hint=hint)
