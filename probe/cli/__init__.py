"""The command `probe`.

- `main`: the command group; errors become exit codes.
- `commands/`: one file per command: check the options, compute a result, hand it to `Output.finish`.
- `options`: options that several commands share; `inputs`: RECIPE, --task and --model, and folders of earlier runs.
- `output`: where answer, JSON, report and errors go; `help_layout`: the look of `--help`.
- `answers`: results as lines of text; `space_answer`: the answer of `probe space`.
- `live/`: progress on a terminal or as plain lines.

click and rich are imported only in this package. Libraries that are slow to import are imported inside functions, so that
`--help` takes a quarter of a second.
"""
