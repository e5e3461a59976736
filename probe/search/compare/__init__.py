"""`probe compare`: several searches side by side.

compare.py            groups runs of one recipe and summarizes them; the best value after any number of epochs
stored_incumbents.py  the same curve from the stored events of a search, which is exact
"""
