"""Reports: what a result says on the terminal, in `report.md`, in plots, and in files for programs.

- kinds: the registry of the kinds of results, with the summary, page, plots and files of each
- store: results as JSON (`result.json`, `--json`)
- write: the folder of a run with its report
- folders: names of the folders of runs
- batch, lr, search, train, compare: one folder for each kind of result
- shared: the summary model, Markdown, plot style, and wording that all kinds use
"""
