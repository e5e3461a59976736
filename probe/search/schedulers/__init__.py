"""Schedulers decide how far each trial is trained: which trial trains to the next rung, and when a new trial starts instead.

`protocol` is the interface. `asha` has the promotion rule of asynchronous successive halving; `successive_halving` and
`hyperband` divide the trials into groups, each with a scheduler of its own. `registry` makes a scheduler by its name, and
chooses the name and the rungs if the recipe does not. `fidelity` defines what a rung means and costs. To add a scheduler: a
module, a line in `registry`, and its name in `probe.recipe.schema.SchedulerName`.
"""
