"""Reports of searches, and of searches compared.

- figures: numbers read off the trials
- summary: the answer on the terminal and at the top of the page, and its sentences
- page: the report; its sections are in tables, regularization, refinement (gradient steps) and cluster_page
- best_recipe: `best.toml`, the best trial as a recipe
- plots, parallel_plot: the plots
- comparison, comparison_plots: summary, page and plot of searches compared
"""
