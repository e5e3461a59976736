"""The answer of `probe compare` in a few lines. Records in, text out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.cli.answers.layout import Rows, labelled, plural
from probe.cli.answers.tables import TextTable
from probe.report.compare.summary import answer_text, group_rows, has_groups, header
from probe.units import format_count

if TYPE_CHECKING:
    from probe.search.records.comparison import SearchComparison


def search_comparison_rows(result: SearchComparison) -> Rows:
    head = header(result)
    names = {name: column for column, name in enumerate(head)}
    table = TextTable(
        header=head,
        rows=tuple(group_rows(result)),
        num_left=1,
        optional=(names["scheduler"], names["sampler"], names["trials"], names["epochs"]),
    )
    rows: Rows = [("Answer", answer_text(result)), ("", table)]
    if has_groups(result):
        rows.append(("Note", "means over the runs of a recipe, ± the standard deviation between its seeds"))
    rows += labelled("Warning", result.warnings)
    epochs = sum(run.epochs for run in result.runs)
    rows.append(("Cost", f"{plural(len(result.runs), 'run')} of {format_count(epochs)} epochs in all"))
    return rows
