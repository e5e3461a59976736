"""What can be concluded from the results of a search. Pure.

importance.py  which hyperparameters matter, beyond chance
intervals.py   95 % confidence intervals of scores
messages.py    warnings about undefined metrics, and the one-line reason in a message or traceback
"""
