"""Sources of tasks: from a name, a recipe, the user's `module:callable` or Python code to a `probe.Task`.

- `source.py`: the protocol of a source, and all sources; the source of a recipe
- `named.py`, `spec.py`, `options.py`: a named model on a named data set; its loss and augmentation
- `augment.py`, `losses.py`: augmentation of images, focal loss and label smoothing
- `target.py`: imports `module:callable`; `given.py`: tasks from Python code
- `code_hashes.py`: detects edits of the user's code between the sessions of a search
"""
