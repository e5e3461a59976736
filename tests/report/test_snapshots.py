"""The exact wording of every page and of every answer on the terminal. `pytest --snapshot-update` renews the snapshots."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_records import (
    ALTERNATIVES,
    batch_result,
    checked_result,
    cluster_use,
    comparison,
    confirmed_lr_result,
    lr_comparison,
    lr_result,
    nothing_fits_result,
    plain_search_result,
    predicted_result,
    search_comparison,
    search_result,
    train_result,
    variants_compared,
)
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from probe.cli.answers import answer_lines, layout_lines
from probe.report.kinds import KINDS, Result, kind_of
from probe.report.store import draw_report


class _MarkdownFile(SingleFileSnapshotExtension):
    file_extension = "md"
    _write_mode = WriteMode.TEXT


class _TextFile(SingleFileSnapshotExtension):
    file_extension = "txt"
    _write_mode = WriteMode.TEXT


RESULTS: dict[str, Result] = {
    "batch": batch_result(recommended=32),
    "batch_checked_against_a_prediction": checked_result(),
    "batch_that_does_not_fit": nothing_fits_result(alternatives=ALTERNATIVES),
    "batch_predicted": predicted_result(),
    "batch_comparison": comparison(),
    "batch_comparison_predicted": comparison(predicted=True),
    "batch_variants": variants_compared(),
    "lr": lr_result(),
    "lr_confirmed": confirmed_lr_result(),
    "lr_without_suggestion": lr_result(suggestion=None, warnings=("The loss never falls.",)),
    "lr_comparison": lr_comparison(),
    "search": search_result(),
    "search_on_a_cluster": search_result(num_trials=3, cluster=cluster_use()),
    "search_without_a_trial": plain_search_result(stopped_by="interrupted"),
    "search_comparison": search_comparison(),
    "train": train_result(),
}


@pytest.mark.parametrize("name", RESULTS)
def test_page(name: str, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    page = draw_report(RESULTS[name], tmp_path).read_text(encoding="utf-8")
    assert page == snapshot(extension_class=_MarkdownFile)


@pytest.mark.parametrize("name", RESULTS)
def test_answer(name: str, snapshot: SnapshotAssertion) -> None:
    lines = layout_lines(answer_lines(RESULTS[name]), width=100)
    assert "\n".join(lines) == snapshot(extension_class=_TextFile)


def test_every_kind_of_result_has_a_snapshot() -> None:
    assert {result.kind for result in RESULTS.values()} == set(KINDS)


@pytest.mark.parametrize("name", RESULTS)
def test_page_and_terminal_have_the_same_answer(name: str) -> None:
    result = RESULTS[name]
    answer = kind_of(result).summarize(result).answer
    assert answer_lines(result)[0] == ("Answer", answer)
    page = kind_of(result).page(result, []).replace("\\", "")
    assert answer[1:] in page
