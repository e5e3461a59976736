"""Reports: what a result says on the terminal, in `report.md`, in plots, and in files for programs.

- kinds: the registry of the kinds of results, with the summary, page, plots and files of each
- store: the folder of a run, its `result.json`, and the report drawn from it
- batch, lr, search: one folder for each kind of result and its comparison; train: the training of one configuration
- shared: the summary model, Markdown, plot style, and wording that all kinds use
"""
