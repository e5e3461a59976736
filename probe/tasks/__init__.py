"""Sources of tasks: from a name, a recipe, the user's `module:callable` or Python code to a `probe.Task`.

- `source.py`: the protocol of a source, and all sources; the source of a recipe
- `named.py`, `options.py`: a named model on a named data set; its loss and augmentation
- `augment.py`, `losses.py`: augmentation of images; losses by name
- `target.py`: imports `module:callable`, and hashes its code to detect edits; `given.py`: tasks from Python code
"""
