"""Optimizers, penalties and learning-rate schedules.

names.py                    names and hyperparameters of optimizers; imports no PyTorch
optimizers.py               creates optimizers
reached_hyperparameters.py  which hyperparameters have an effect on a user's optimizer
penalties.py                L1 and L2 penalties
lr_schedules.py             learning-rate schedules
"""
