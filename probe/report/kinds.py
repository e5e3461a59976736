"""The registry of the kinds of results. A new kind of result is one entry in `KINDS`.

Plots and files are named by module and function, and imported when they are drawn: matplotlib takes a second to import.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from probe.batch.records import BatchComparison, BatchResult
from probe.lr.records import LrComparison, LrResult
from probe.report.batch.comparison import comparison_page, comparison_summary
from probe.report.batch.page import batch_page
from probe.report.batch.summary import batch_summary
from probe.report.lr.page import lr_comparison_page, lr_page
from probe.report.lr.summary import lr_comparison_summary, lr_summary
from probe.report.search.comparison import COMPARED_SEARCHES_FILE, compare_summary, search_comparison_page
from probe.report.search.page import search_page
from probe.report.search.summary import search_summary
from probe.report.shared.summary import Summary
from probe.report.train import train_page, train_summary
from probe.search.records.comparison import SearchComparison
from probe.search.records.search import SearchResult
from probe.single.records import TrainResult

if TYPE_CHECKING:
    from probe.report.shared.plots import Drawings

REPORT_FILE = "report.md"

Result = BatchResult | BatchComparison | LrResult | LrComparison | SearchResult | SearchComparison | TrainResult
ResultType = TypeVar("ResultType")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultKind(Generic[ResultType]):
    """What there is to show of one kind of result."""

    record: type[ResultType]
    summarize: Callable[[ResultType], Summary]
    """The answer, for the terminal and the top of the page."""
    page: Callable[[ResultType, Sequence[str]], str]
    """The Markdown of the report, given the files of the plots that were drawn."""
    plots: str
    """`module:function` of type (result) -> Drawings."""
    files: str | None = None
    """`module:function` of type (result, folder) -> None, which writes files for programs; None if there are none."""
    page_file: str = REPORT_FILE

    def drawings(self, result: ResultType) -> Drawings:
        """The plots of a result by file name."""
        return cast("Drawings", _function(self.plots)(result))

    def write_files(self, result: ResultType, folder: Path) -> None:
        """Write the files for programs into `folder`."""
        if self.files is not None:
            _function(self.files)(result, folder)


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    return cast(Callable[..., Any], getattr(import_module(module), function))


KINDS: dict[str, ResultKind[Any]] = {
    "batch": ResultKind(
        record=BatchResult,
        summarize=batch_summary,
        page=batch_page,
        plots="probe.report.batch.plots:batch_plots",
    ),
    "batch_comparison": ResultKind(
        record=BatchComparison,
        summarize=comparison_summary,
        page=comparison_page,
        plots="probe.report.batch.comparison_plots:comparison_plots",
    ),
    "lr": ResultKind(
        record=LrResult,
        summarize=lr_summary,
        page=lr_page,
        plots="probe.report.lr.plots:lr_plots",
    ),
    "lr_comparison": ResultKind(
        record=LrComparison,
        summarize=lr_comparison_summary,
        page=lr_comparison_page,
        plots="probe.report.lr.plots:lr_comparison_plots",
    ),
    "search": ResultKind(
        record=SearchResult,
        summarize=search_summary,
        page=search_page,
        plots="probe.report.search.plots:search_plots",
        files="probe.report.search.best_recipe:write_search_files",
    ),
    "search_comparison": ResultKind(
        record=SearchComparison,
        summarize=compare_summary,
        page=search_comparison_page,
        plots="probe.report.search.comparison_plots:compare_plots",
        page_file=COMPARED_SEARCHES_FILE,
    ),
    "train": ResultKind(
        record=TrainResult,
        summarize=train_summary,
        page=train_page,
        plots="probe.report.train:train_plots",
        files="probe.report.train:write_train_files",
    ),
}


def kind_of(result: Result) -> ResultKind[Any]:
    """The registry's entry for a result."""
    return KINDS[result.kind]
