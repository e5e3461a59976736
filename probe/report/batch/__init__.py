"""Reports of batch probes, and of batch sizes compared.

- figures: numbers read off the attempts
- sentences, sample_text: sentences about the result, its warnings, the samples
- summary: the answer on the terminal and at the top of the page
- page: the report, with its sections on predictions
- plots: its plots
- comparison, comparison_plots: summary, page and plot of batch sizes compared
"""
