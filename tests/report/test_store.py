from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from made_records import (
    ALTERNATIVES,
    batch_result,
    checked_result,
    comparison,
    confirmed_lr_result,
    lr_comparison,
    lr_result,
    nothing_fits_result,
    predicted_result,
    search_result,
    train_result,
)
from record_strategies import batch_results, comparisons, lr_comparisons, lr_results, search_results, train_results

from probe.errors import OutputError, ProbeError, UsageError
from probe.lr.records import LrResult
from probe.records_json import to_plain
from probe.report.kinds import Result
from probe.report.store import load_result, redraw_report, result_text, save_result


@pytest.mark.parametrize(
    "result",
    [
        batch_result(),
        checked_result(),
        predicted_result(),
        nothing_fits_result(alternatives=ALTERNATIVES),
        comparison(),
        lr_result(),
        confirmed_lr_result(stopped_by="interrupted"),
        lr_comparison(),
        search_result(),
        train_result(),
    ],
    ids=lambda r: f"{r.kind} {r.stopped_by}",
)
def test_a_saved_result_reads_back_equal(result: Result, tmp_path: Path) -> None:
    save_result(result, tmp_path / "result.json")
    assert load_result(tmp_path) == result
    assert load_result(tmp_path / "result.json") == result
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]  # no temporary file is left


@given(batch_results() | comparisons() | lr_results() | lr_comparisons() | search_results() | train_results())
@settings(deadline=None, max_examples=60)
def test_any_valid_result_reads_back_equal(result: Result) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save_result(result, Path(folder) / "result.json")
        assert load_result(Path(folder)) == result


def test_the_text_is_ordinary_json_with_a_point_of_a_curve_on_each_line() -> None:
    text = result_text(lr_result())
    assert json.loads(text) == to_plain(lr_result())
    assert max(len(line) for line in text.splitlines()) <= 130
    assert len(text.splitlines()) < 2 * len(lr_result().curves[0].points)
    assert text.isascii()


def written(tmp_path: Path, content: str | bytes) -> Path:
    file = tmp_path / "result.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def changed(**changes: Any) -> str:
    return json.dumps(to_plain(batch_result()) | changes)


def changed_lr(**changes: Any) -> str:
    return json.dumps(to_plain(confirmed_lr_result()) | changes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not valid JSON"),
        ("{" * 20, "not valid JSON"),
        ("[" * 200_000, "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (result_text(search_result())[:5000], "not valid JSON"),
        ("[]", "not a result of probe: it has no kind"),
        ("{}", "no kind. The known kinds are batch, batch_comparison, lr, lr_comparison, search"),
        (changed(kind="sweep"), "kind 'sweep'"),
        (changed(kind=["batch"]), "kind"),
        (changed(schema=2), "has schema 2; this version of probe reads schemas up to 1"),
        (changed(schema="1"), "its schema is '1'"),
        (changed(attempts=7), r"BatchResult\.attempts: .*not 7"),
        (changed(largest_fit=48), "largest_fit=48 is not the size of an attempt"),
        (changed(seconds=float("nan")), r"BatchResult\.seconds: .*finite number"),
        (changed_lr(depth="deep"), r"LrResult\.depth: "),
        (changed_lr(confirmation={"runs": []}), r"LrResult\.confirmation\b"),
        (changed_lr(highest_lr=1e-4), "outside the tested range 1e-05 to 0.0001"),
    ],
)
def test_what_is_no_result_is_refused_with_its_name_and_the_reason(
    content: str | bytes, message: str, tmp_path: Path
) -> None:
    file = written(tmp_path, content)
    with pytest.raises(OutputError, match=message) as refusal:
        load_result(tmp_path)
    assert str(file) in refusal.value.message


def test_a_newer_result_names_the_command_that_updates_probe(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as refusal:
        load_result(written(tmp_path, changed(schema=99)))
    assert "pip install --upgrade" in (refusal.value.hint or "")


def test_unknown_keys_of_a_newer_probe_are_ignored(tmp_path: Path) -> None:
    assert load_result(written(tmp_path, changed(not_known_yet=[1, 2]))) == batch_result()


NEWER_LR_KEYS = (
    "lr_schedule",
    "training_steps",
    "training_steps_assumed",
    "passes",
    "depth",
    "ramp_steps",
    "other_finders",
    "confirmation",
)


def test_a_learning_rate_of_an_older_probe_is_read_without_what_it_did_not_know(tmp_path: Path) -> None:
    older = {name: value for name, value in to_plain(lr_result()).items() if name not in NEWER_LR_KEYS}
    read = load_result(written(tmp_path, json.dumps(older)))
    assert isinstance(read, LrResult)
    assert (read.lr_schedule, read.training_steps, read.depth, read.other_finders) == (
        "constant",
        None,
        "range_test",
        None,
    )
    assert read.suggestion == lr_result().suggestion


def test_missing_paths(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_result(tmp_path / "nowhere")
    with pytest.raises(OutputError, match=r"has no result\.json"):
        load_result(tmp_path)


def test_a_file_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere" / "result.json", tmp_path):
        with pytest.raises(ProbeError, match="cannot be written") as refusal:
            save_result(lr_result(), path)
        assert refusal.value.exit_code == 6
    assert list(tmp_path.iterdir()) == []


def test_a_search_stored_before_there_were_diagnoses_reads_and_is_drawn(tmp_path: Path) -> None:
    plain = to_plain(search_result())
    assert plain.pop("diagnosis")["kind"] == "overfitting"
    written(tmp_path, json.dumps(plain))
    result = load_result(tmp_path)
    assert result == search_result(diagnosis=None)
    assert "### Diagnosis" not in redraw_report(tmp_path).read_text(encoding="utf-8")
