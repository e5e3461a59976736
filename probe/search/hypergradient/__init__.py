"""Refinement of the best trial by gradient steps on its hyperparameters (`search.refine` in a recipe).

unrolled.py      derivative of the validation loss with respect to hyperparameters, through unrolled training
functional.py    the loss and the SGD step as functions, which `unrolled` differentiates
job.py           the gradient of one trial, as a worker computes it
steps.py         the next configuration, given the gradient and the trials so far; pure
refiner.py       the proposer of trials, made from a recipe, and its text for `probe space`

To remove the feature, delete this folder and its line in `probe.search.proposers`.
"""
