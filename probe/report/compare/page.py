"""The report of searches compared, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from probe.report.compare.summary import compare_summary, has_groups, run_header, run_rows
from probe.report.shared.markdown import code, command, escape, page, summary_blocks, text_table
from probe.report.shared.sections import plot_block
from probe.report.shared.summary import Table
from probe.report.shared.wording import objective_text
from probe.search.records.comparison import SearchComparison

COMPARED_SEARCHES_FILE = "comparison.md"
COMPARED_SEARCHES_PLOT = "comparison.png"

_READING = (
    "The best validation value of a search is optimistic, the more so the more trials it had. Test scores are not, but the "
    "final training of each seed varies too. If the task has no validation split, each seed holds out its own, so "
    "searches are best compared on the same seeds. Test scores are shown with their 95 % interval if it is known."
)


def search_comparison_page(result: SearchComparison, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that were drawn."""
    return page(
        [
            "# Searches compared",
            *summary_blocks(compare_summary(result)),
            _legend(result),
            plot_block(plots, COMPARED_SEARCHES_PLOT, _caption(result)),
            "## Each run",
            text_table(Table(header=run_header(result), rows=tuple(run_rows(result)), num_left=3)),
            _READING,
            "## Made by",
            _made_by(result),
        ]
    )


def _legend(result: SearchComparison) -> str:
    text = (
        "Epochs are those of the budget: probes are included, the final training is not. The last column shows how many of "
        "them were spent to reach the final best value of the weakest run."
    )
    if has_groups(result):
        text += " Rows of several runs are means over their seeds, ± the standard deviation between them."
    return text


def _caption(result: SearchComparison) -> str:
    band = " The band spans the runs of a group, the line is their mean." if has_groups(result) else ""
    return f"Best {objective_text(result.metric)} so far against the epochs spent.{band}"


def _made_by(result: SearchComparison) -> str:
    typed = command(result.meta.argv)
    how = "from Python" if typed is None else f"with {code(typed)}"
    return (
        f"Compared at {escape(result.meta.started_at)} {how}, by probe {escape(result.meta.probe_version)}. The report in the "
        "folder of each search has its settings, its environment, and its results."
    )
