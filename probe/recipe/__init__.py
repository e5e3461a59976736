"""Recipes: TOML files that say what to train, which hyperparameters to search, how, and for how long.

`load` reads a file, `dump` writes one. `schema` holds the sections, `sections` and `data_options` the tables inside them,
`space` the entries of [space], `when` their conditions, `refine` the table search.refine, `values` single values and steps of
a range. `checks` holds the rules that concern several keys, `explain` turns pydantic's errors into sentences, `renamed` lists
keys of earlier versions. `fixed` handles recipes that leave nothing to search. Pure: imports no framework.
"""
