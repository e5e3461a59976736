"""Reports of batch probes, and of batch sizes compared.

- figures: numbers read off the attempts
- sentences, sample_text: sentences about the result, its warnings, the samples
- summary, comparison_summary: the answer on the terminal and at the top of the page
- page, prediction_page, comparison_page: the report
- plots, comparison_plots: its plots
"""
