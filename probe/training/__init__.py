"""Training of a task: the same step, run and loop for every command.

settings.py                  hyperparameters of the trainer
building.py                  builds tasks, checks their splits and whether data have changed
run.py, step.py, loop.py     one training run, its optimizer step, its epochs
losses.py, metrics.py        losses and metrics by name
evaluate.py, summary.py      scores on a split, and the summary of a training
checkpoint.py, weights.py    state and weights on disk
activation_checkpointing.py  recomputation of activations
records.py                   epochs, scores, diagnosis; imports no PyTorch
optim/                       optimizers, penalties, learning-rate schedules
"""
