"""Training of a task: the same step, run and loop for every command.

settings.py                  hyperparameters of the trainer, learning-rate schedules
building.py                  builds tasks, checks their splits and whether data have changed
run.py, step.py, loop.py     one training run, its optimizer step, its epochs and their summary
optimizers.py                optimizers and penalties
optimizer_names.py           names and hyperparameters of optimizers; imports no PyTorch
reached_hyperparameters.py   which hyperparameters have an effect on a user's optimizer
evaluate.py, metrics.py      scores on a split; metrics by name
checkpoint.py                state and weights on disk
activation_checkpointing.py  recomputation of activations
acceleration.py              torch.compile, channels last
records.py                   epochs, scores, diagnosis; imports no PyTorch
"""
