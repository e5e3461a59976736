"""`probe compare`: several searches side by side, in groups of runs of one recipe.

The curve from the stored events of a search, which is exact, is made by `probe.search.stored_result`.
"""
