"""The folder of a run: result.json is written first, then files for programs, plots, and the page."""

from __future__ import annotations

from pathlib import Path

from probe.errors import OutputError
from probe.files import write_text
from probe.report.kinds import Result, kind_of
from probe.report.store import RESULT_FILE, load_result, save_result


def write_report(result: Result, folder: Path) -> Path:
    """Store `result` in `folder`, which is created if needed, and draw its report.

    result.json is written first, so that no measurement is lost if drawing fails. Every file is written atomically.

    Returns:
        The path of the page.

    Raises:
        OutputError: if the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be created: {error.strerror or error}.") from error
    save_result(result, folder / RESULT_FILE)
    return draw_report(result, folder)


def redraw_report(path: Path) -> Path:
    """Draw the report again from a run's folder or its result.json, which is not changed. Returns the path of the page.

    Raises UsageError or OutputError like `load_result`, and OutputError if the folder cannot be written to.
    """
    result = load_result(path)
    return draw_report(result, path if path.is_dir() else path.parent)


def draw_report(result: Result, folder: Path) -> Path:
    """Draw the report of `result` without writing result.json. Returns the path of the page."""
    from probe.report.shared.style import plot_style

    kind = kind_of(result)
    kind.write_files(result, folder)
    with plot_style():
        plots = [file for file, draw in kind.drawings(result).items() if draw(folder / file)]
    path = folder / kind.page_file
    write_text(path, kind.page(result, plots))
    return path
