"""Recipes: TOML files that say what to train, which hyperparameters to search, how, and for how long.

`load` reads a file, `dump` writes one, and handles recipes that leave nothing to search. `schema` holds the sections,
`sections` the tables inside them, `space` the entries of [space], `when` their conditions, `refine` the table search.refine,
`values` single values and steps of a range. `checks` holds the rules that concern several keys and the keys of earlier
versions, `explain` turns pydantic's errors into sentences. Pure: imports no framework.
"""
