"""A run's folder: result.json first, then trials.csv, plots and report.md.

matplotlib and pandas are imported inside functions: importing this module is cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from probe.batch.records import BatchComparison, BatchResult
from probe.errors import OutputError
from probe.files import write_text
from probe.lr.records import LrComparison, LrResult
from probe.report.batch.comparison_page import COMPARISON_PLOT, comparison_page
from probe.report.batch.page import MEMORY_PLOT, THROUGHPUT_PLOT, batch_page
from probe.report.compare.page import (
    COMPARED_SEARCHES_FILE,
    COMPARED_SEARCHES_PLOT,
    search_comparison_page,
)
from probe.report.lr.comparison_page import COMPARED_LRS_PLOT, lr_comparison_page
from probe.report.lr.page import LR_PLOT, lr_page
from probe.report.search.page import (
    ALL_CURVES_PLOT,
    BATCH_PREFIX,
    BEST_FILE,
    HISTORY_PLOT,
    IMPORTANCE_PLOT,
    PARALLEL_PLOT,
    WINNER_PLOT,
    lr_plot_files,
    search_page,
)
from probe.report.store import RESULT_FILE, Result, load_result, save_result
from probe.report.train.page import CURVES_PLOT, HISTORY_FILE, train_page
from probe.search.records.comparison import SearchComparison
from probe.search.records.search import SearchResult
from probe.single.records import TrainResult

REPORT_FILE = "report.md"


def write_report(result: Result, folder: Path) -> Path:
    """Store `result` in `folder`, made if need be, and draw its report. Returns the path of report.md.

    result.json comes first, so that nothing measured is lost if drawing fails. Every file appears whole or not at all.
    Raises OutputError where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be created: {error.strerror or error}.") from error
    save_result(result, folder / RESULT_FILE)
    return draw_report(result, folder)


def redraw_report(path: Path) -> Path:
    """Draw the report again from a run's folder, or the result.json in it, which stays as it is. Returns report.md's path.

    Raises UsageError or OutputError as `load_result` does, and OutputError where the folder cannot be written.
    """
    result = load_result(path)
    return draw_report(result, path if path.is_dir() else path.parent)


def draw_report(result: Result, folder: Path) -> Path:
    """The report of `result` alone: its result.json is not written. Returns the path of report.md, which for compared
    searches is comparison.md."""
    from probe.report.shared.style import plot_style

    _write_tables(result, folder)
    with plot_style():
        plots = [file for file, draw in _drawings(result).items() if draw(folder / file)]
    file = folder / (COMPARED_SEARCHES_FILE if isinstance(result, SearchComparison) else REPORT_FILE)
    write_text(file, _page(result, plots))
    return file


def _write_tables(result: Result, folder: Path) -> None:
    """What is for programs rather than for readers: trials.csv and best.toml, history.csv."""
    if isinstance(result, SearchResult):
        from probe.report.search.best_recipe import best_recipe
        from probe.report.search.trials_csv import TRIALS_FILE, write_trials

        write_trials(result, folder / TRIALS_FILE)
        text = best_recipe(result)
        if text is not None:
            write_text(folder / BEST_FILE, text)
    if isinstance(result, TrainResult):
        from probe.report.train.history_csv import write_history

        write_history(result.reports, folder / HISTORY_FILE)


def _page(result: Result, plots: list[str]) -> str:
    if isinstance(result, BatchResult):
        return batch_page(result, plots)
    if isinstance(result, BatchComparison):
        return comparison_page(result, plots)
    if isinstance(result, LrResult):
        return lr_page(result, plots)
    if isinstance(result, LrComparison):
        return lr_comparison_page(result, plots)
    if isinstance(result, TrainResult):
        return train_page(result, plots)
    if isinstance(result, SearchComparison):
        return search_comparison_page(result, plots)
    from probe.report.search.best_recipe import best_body

    return search_page(result, plots, best_recipe=best_body(result))


def _drawings(result: Result) -> dict[str, Callable[[Path], bool]]:
    """File name -> what draws it; that returns False, and leaves no file, where there is nothing to draw."""
    if isinstance(result, BatchResult):
        return _batch_drawings(result)
    if isinstance(result, BatchComparison):
        from probe.report.batch.comparison_plots import draw_comparison

        return {COMPARISON_PLOT: partial(draw_comparison, result)}
    if isinstance(result, LrResult):
        from probe.report.lr.plots import draw_lr

        return {LR_PLOT: partial(draw_lr, result)}
    if isinstance(result, LrComparison):
        from probe.report.lr.plots import draw_lr_comparison

        return {COMPARED_LRS_PLOT: partial(draw_lr_comparison, result)}
    if isinstance(result, TrainResult):
        from probe.report.shared.curve_plots import draw_curves

        title = f"{result.name}: {result.task}"
        return {CURVES_PLOT: partial(draw_curves, result.reports, title=title, metric=result.metric)}
    if isinstance(result, SearchComparison):
        from probe.report.compare.plots import draw_search_comparison

        return {COMPARED_SEARCHES_PLOT: partial(draw_search_comparison, result)}
    return _search_drawings(result)


def _batch_drawings(result: BatchResult, prefix: str = "") -> dict[str, Callable[[Path], bool]]:
    from probe.report.batch.plots import draw_memory, draw_throughput
    from probe.report.batch.prediction_plots import draw_predicted_memory

    if result.stopped_by == "predicted":
        return {f"{prefix}{MEMORY_PLOT}": partial(draw_predicted_memory, result)}
    return {
        f"{prefix}{THROUGHPUT_PLOT}": partial(draw_throughput, result),
        f"{prefix}{MEMORY_PLOT}": partial(draw_memory, result),
    }


def _search_drawings(result: SearchResult) -> dict[str, Callable[[Path], bool]]:
    from probe.report.lr import plots as lr_plots
    from probe.report.search import parallel_plot
    from probe.report.search import plots as search_plots

    drawings: dict[str, Callable[[Path], bool]] = {
        HISTORY_PLOT: partial(search_plots.draw_history, result),
        WINNER_PLOT: partial(search_plots.draw_winner, result),
        ALL_CURVES_PLOT: partial(search_plots.draw_all_curves, result),
        IMPORTANCE_PLOT: partial(search_plots.draw_importance, result),
        PARALLEL_PLOT: partial(parallel_plot.draw_parallel, result),
    }
    if result.batch_probe is not None:
        drawings |= _batch_drawings(result.batch_probe, BATCH_PREFIX)
    for (optimizer, probe), file in zip(result.lr_probes.items(), lr_plot_files(result), strict=True):
        title = f"LR range test, {optimizer}" if optimizer else "LR range test"
        drawings[file] = partial(lr_plots.draw_lr, probe, title=title)
    return drawings
