"""The registry of the kinds of results. A new kind of result is one entry in `KINDS`.

Plots and files are named by module and function, and imported when they are drawn: matplotlib takes a second to import.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
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


@dataclass(frozen=True, slots=True)
class ResultKind(Generic[ResultType]):
    """What there is to show of one kind of result."""

    record: type[ResultType]
    summarize: Callable[[ResultType], Summary]
    """The answer, for the terminal and the top of the page."""
    page: Callable[[ResultType, Sequence[str]], str]
    """The Markdown of the report, given the files of the plots that were drawn."""
    plots: str
    """`module:function` in probe.report, of type (result) -> Drawings."""
    _: KW_ONLY
    files: str | None = None
    """`module:function` in probe.report, of type (result, folder) -> None, which writes files for programs."""
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
    return cast(Callable[..., Any], getattr(import_module(f"probe.report.{module}"), function))


KINDS: dict[str, ResultKind[Any]] = {
    "batch": ResultKind(BatchResult, batch_summary, batch_page, "batch.plots:batch_plots"),
    "batch_comparison": ResultKind(
        BatchComparison, comparison_summary, comparison_page, "batch.comparison_plots:comparison_plots"
    ),
    "lr": ResultKind(LrResult, lr_summary, lr_page, "lr.plots:lr_plots"),
    "lr_comparison": ResultKind(
        LrComparison, lr_comparison_summary, lr_comparison_page, "lr.plots:lr_comparison_plots"
    ),
    "search": ResultKind(
        SearchResult,
        search_summary,
        search_page,
        "search.plots:search_plots",
        files="search.best_recipe:write_search_files",
    ),
    "search_comparison": ResultKind(
        SearchComparison,
        compare_summary,
        search_comparison_page,
        "search.comparison_plots:compare_plots",
        page_file=COMPARED_SEARCHES_FILE,
    ),
    "train": ResultKind(TrainResult, train_summary, train_page, "train:train_plots", files="train:write_train_files"),
}


def kind_of(result: Result) -> ResultKind[Any]:
    """The registry's entry for a result."""
    return KINDS[result.kind]
