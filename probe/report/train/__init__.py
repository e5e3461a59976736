"""Reports of the training of one configuration.

- summary: the answer on the terminal and at the top of the page
- page: the report
- plots: its learning curves
- history_csv: `history.csv`, a row per epoch
"""
