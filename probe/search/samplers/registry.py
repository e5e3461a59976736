"""Makes samplers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from probe.errors import RecipeError, unknown_name
from probe.recipe.schema import SamplerName
from probe.search.records.objective import Mode
from probe.search.samplers.bayesian import BayesianSampler
from probe.search.samplers.optuna_samplers import GridSampler, OptunaSampler, RandomSampler, cma_es, evolutionary, qmc
from probe.search.samplers.protocol import Sampler
from probe.search.samplers.tpe import TPESampler
from probe.search.space.space import Space

Make = Callable[[Space, Mode, int, int], Sampler]
"""(space, mode, seed, number of rungs) -> the sampler."""
SAMPLERS: Mapping[SamplerName, Make] = {
    "tpe": lambda space, mode, seed, num_rungs: TPESampler(space, mode=mode, seed=seed),
    "random": lambda space, mode, seed, num_rungs: RandomSampler(space, seed=seed),
    "grid": lambda space, mode, seed, num_rungs: GridSampler(space, seed=seed),
    "gp": lambda space, mode, seed, num_rungs: BayesianSampler(space, mode=mode, seed=seed, num_rungs=num_rungs),
    "cma-es": lambda space, mode, seed, num_rungs: OptunaSampler("cma-es", cma_es, space, mode=mode, seed=seed),
    "evolutionary": lambda space, mode, seed, num_rungs: OptunaSampler(
        "evolutionary", evolutionary, space, mode=mode, seed=seed
    ),
    "qmc": lambda space, mode, seed, num_rungs: OptunaSampler("qmc", qmc, space, mode=mode, seed=seed),
}
SAMPLER_NAMES: tuple[str, ...] = ("auto", *SAMPLERS)


def make_sampler(name: str, space: Space, *, mode: Mode, seed: int, num_rungs: int = 1) -> Sampler:
    """Make the sampler `name`; `auto` makes `gp`, without the choice of `auto_sampler`. Raises RecipeError for an
    unknown name, and for a grid that is too large."""
    for known, make in SAMPLERS.items():
        if known == ("gp" if name == "auto" else name):
            return make(space, mode, seed, num_rungs)
    message, hint = unknown_name("sampler", name, SAMPLER_NAMES)
    raise RecipeError(message, hint=hint)
