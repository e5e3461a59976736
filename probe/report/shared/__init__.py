"""What the reports of all kinds of results share.

- summary: the summary model, rendered by `markdown` for reports and by `probe.cli.answers` for terminals
- markdown: escaping, tables, and the sections that every page has: settings, environment, how to reproduce a run
- wording: counts, metrics, intervals, the worth of a test score
- diagnosis_text: a diagnosis of learning curves in sentences
- plots: the style of all plots, points and axes, and learning curves
"""
