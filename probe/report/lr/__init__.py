"""Reports of learning-rate probes, for one or for several optimizers or batch sizes.

- summary: the answer on the terminal and at the top of the page, and its sentences
- page: the reports
- plots: their plots
"""
