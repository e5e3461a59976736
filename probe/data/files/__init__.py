"""The user's own files, one module per kind: `csv:PATH`, `folder:PATH`, `series:PATH`, `text:PATH`.

`tables.py` reads CSV files; `regression.py` scales columns, and has the metrics and baselines of numbers.
"""
