"""Samplers by name."""

from __future__ import annotations

from probe.errors import RecipeError, unknown_name
from probe.search.records.objective import Mode
from probe.search.samplers.bayesian import BayesianSampler
from probe.search.samplers.optuna_samplers import OptunaSampler
from probe.search.samplers.protocol import Sampler
from probe.search.samplers.random_and_grid import GridSampler, RandomSampler
from probe.search.space.space import Space

SAMPLER_NAMES = ("auto", "tpe", "random", "grid", "gp", "cma-es", "evolutionary", "qmc")


def make_sampler(name: str, space: Space, *, mode: Mode, seed: int, num_rungs: int = 1) -> Sampler:
    """The sampler with this name; `auto` is `gp`, and `auto_sampler` knows better.

    Raises RecipeError for an unknown name and for a grid that is too large.
    """
    if name not in SAMPLER_NAMES:
        message, hint = unknown_name("sampler", name, SAMPLER_NAMES)
        raise RecipeError(message, hint=hint)
    if name == "grid":
        return GridSampler(space, seed=seed)
    if name == "random":
        return RandomSampler(space, seed=seed)
    if name in ("auto", "gp"):
        return BayesianSampler(space, mode=mode, seed=seed, num_rungs=num_rungs)
    return OptunaSampler(name, space, mode=mode, seed=seed)
