"""What can be concluded from the results of a search. Pure.

importance.py  which hyperparameters matter, beyond chance
intervals.py   95 % confidence intervals of scores
undefined.py   warnings about metrics that were NaN or infinite
reasons.py     the one-line reason in a message or traceback
"""
