"""Who decides which configuration is tried next: random and grid search, Optuna's samplers, and a Gaussian process."""
