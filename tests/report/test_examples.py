"""The committed example reports are what today's code writes for their results.

If this fails after a change of the wording, draw them again: `probe report reports/examples/<name>` for each folder.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from probe.report.kinds import kind_of
from probe.report.store import RESULT_FILE, load_result

EXAMPLES = Path(__file__).parents[2] / "reports" / "examples"
FOLDERS = sorted(path.parent.name for path in EXAMPLES.glob(f"*/{RESULT_FILE}"))


@pytest.mark.parametrize("name", FOLDERS)
def test_the_page_of_an_example_is_todays(name: str) -> None:
    folder = EXAMPLES / name
    result = load_result(folder)
    kind = kind_of(result)
    plots = [path.name for path in folder.glob("*.png")]
    assert (folder / kind.page_file).read_text(encoding="utf-8") == kind.page(result, plots)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_files_for_programs_of_an_example_are_todays(name: str, tmp_path: Path) -> None:
    result = load_result(EXAMPLES / name)
    kind_of(result).write_files(result, tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (EXAMPLES / name / path.name).read_bytes(), path.name


def test_there_are_examples() -> None:
    assert {"batch", "lr", "digits", "prediction"} <= set(FOLDERS)
