"""`probe compare`: several searches side by side.

compare.py     groups runs of one recipe and summarizes them
incumbents.py  the best value after any number of epochs, from the events of a search or from its trials
"""
