"""The report of several searches compared, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from probe.report.compare.summary import (
    answer_text,
    goal_name,
    group_rows,
    has_groups,
    header,
    run_header,
    run_rows,
)
from probe.report.shared.markdown import bullets, code, command, escape, image, page, table
from probe.search.records.comparison import SearchComparison

COMPARED_SEARCHES_FILE = "comparison.md"
COMPARED_SEARCHES_PLOT = "comparison.png"


def search_comparison_page(result: SearchComparison, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that could be drawn."""
    return page(
        [
            "# Searches compared",
            f"**{escape(answer_text(result))}.**",
            _table(header(result), group_rows(result), num_left=4 if has_groups(result) else 3),
            _legend(result),
            bullets([f"**Warning:** {escape(text)}" for text in result.warnings]) if result.warnings else None,
            *[image(file, _caption(result)) for file in plots if file == COMPARED_SEARCHES_PLOT],
            "## Each run",
            _table(run_header(result), run_rows(result), num_left=3),
            _reading(result),
            "## Made by",
            _made_by(result),
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, num_left: int) -> str:
    cells = [[escape(cell) for cell in row] for row in rows]
    return table([escape(name) for name in head], cells, right=range(num_left, len(head)))


def _legend(result: SearchComparison) -> str:
    told = (
        "Epochs are those of the budget, the probes' included, the final fit's not. The last column is how many of them were "
        "spent until the weakest run's final best was reached."
    )
    if has_groups(result):
        told += " Rows of several runs are means over their seeds, ± the standard deviation between them."
    return told


def _caption(result: SearchComparison) -> str:
    band = " A band spans a group's runs, its line is their mean." if has_groups(result) else ""
    return f"Best {goal_name(result)} so far against the epochs spent.{band}"


def _reading(result: SearchComparison) -> str:
    return (
        "The best validation value of a search is optimistic, the more so the more trials it had; test scores are not, but "
        "each seed's final fit adds luck of its own. Each seed holds out a validation part of its own where the task has none, "
        "so that searches are best compared on the same seeds. Test values carry their 95 % interval where one is known."
    )


def _made_by(result: SearchComparison) -> str:
    typed = command(result.meta.argv)
    how = "from Python" if typed is None else f"with {code(typed)}"
    return (
        f"Compared at {escape(result.meta.started_at)} {how}, by probe {escape(result.meta.probe_version)}. What each search "
        "was asked, where it ran and what it found is in the report of its own folder."
    )
