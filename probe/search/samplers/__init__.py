"""Samplers choose the configurations of trials: random and grid search, Optuna's samplers, and Bayesian optimization.

`protocol` is the interface and `registry` makes a sampler by its name. `random_and_grid`, `tpe`, `optuna_sampler` (CMA-ES,
evolutionary, QMC) and `bayesian` are the samplers; `bayesian` uses `gaussian_process`, `acquisition` and `encoding`.
`auto_sampler` chooses the name if the recipe does not, `time_limited` bounds the time of a slow sampler, and `history_window`
the number of trials that it learns from. `optuna_study` has helpers for Optuna; `optuna_export` writes a search as an Optuna
study. To add a sampler: a module, a line in `registry`, and its name in `probe.recipe.schema.SamplerName`.
"""
