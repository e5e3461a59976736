"""Samplers choose the configurations of trials: random and grid search, Optuna's samplers, and Bayesian optimization.

`protocol` is the interface and `registry` makes a sampler by its name. `optuna_samplers` (random, grid, CMA-ES, evolutionary,
QMC), `tpe` and `bayesian` are the samplers; `bayesian` uses `gaussian_process`, `acquisition` and `encoding`. `auto_sampler`
chooses the name if the recipe does not, and `limits` bounds the time of a slow sampler and the trials that it learns from.
`optuna_export` writes a search as an Optuna study, into a storage that `optuna_storage` has checked. To add a sampler: a
module, a line in `registry`, and its name in `probe.recipe.schema.SamplerName`.
"""
