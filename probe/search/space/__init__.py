"""The space of configurations that a search chooses from.

`space` has the Space itself, and the axes and positions that samplers use. `dimensions` makes it from a recipe and the results
of the probes. `configurations` lists its distinct configurations, and those of a grid over it. Everything here is pure.
"""
