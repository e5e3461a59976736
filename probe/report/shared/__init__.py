"""What the reports of all kinds of results share.

- summary: the summary model, rendered by `markdown` for reports and by `probe.cli.answers` for terminals
- wording: counts, metrics, intervals, the worth of a test score
- sections: settings, environment, how to reproduce a run
- diagnosis_text: a diagnosis of learning curves in sentences
- style, curve_plots: the style of all plots, and learning curves
"""
