from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from made_records import (
    attempt,
    batch_result,
    comparison,
    confirmed_lr_result,
    lr_comparison,
    lr_curve,
    lr_result,
    nothing_fits_result,
    plain_search_result,
    predicted_result,
    reports,
    search_result,
    train_result,
    trial,
)
from record_strategies import batch_results, comparisons, lr_comparisons, lr_results, search_results, train_results
from written_pages import check_page, written

from probe.errors import OutputError
from probe.lr.records import LrCurve
from probe.report.kinds import Result
from probe.report.search.best_recipe import best_recipe, write_search_files
from probe.report.search.page import search_page
from probe.report.store import load_result, redraw_report, write_report
from probe.search.records.search import SearchResult


def test_batch_report(tmp_path: Path) -> None:
    text = written(batch_result(recommended=32), tmp_path)
    check_page(text, tmp_path)
    first = text.split("\n\n")[1]
    assert first.startswith("**The largest batch that fits is 64 (confirmed by a longer run);")
    assert "recommended is 32" in first
    assert "3.79 GiB (47 % of 8 GiB) at batch 64" in text
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "result.json", "throughput.png", "memory.png"}


def test_a_batch_that_was_not_confirmed_says_so(tmp_path: Path) -> None:
    result = batch_result(attempts=(attempt(64), attempt(128)))
    assert "64 (not confirmed by a longer run)" in written(result, tmp_path)


def test_what_capped_the_sweep_is_told(tmp_path: Path) -> None:
    result = batch_result(attempts=(attempt(8),), largest_fit=8, recommended=8, capped_by="data")
    text = written(result, tmp_path)
    assert "It ended at 8 because the next power of two is larger than the training set" in text


def test_nothing_fits_says_what_to_try(tmp_path: Path) -> None:
    text = written(nothing_fits_result(), tmp_path)
    assert text.split("\n\n")[1] == "**No batch size fits, not even 1.**"
    assert "--precision bf16" in text
    assert "--optimizer sgd" in text
    assert not (tmp_path / "throughput.png").exists()
    assert "throughput.png" not in text


def test_lr_report(tmp_path: Path) -> None:
    result = lr_result(curves=(lr_curve(0), lr_curve(1)), warnings=("a | b",))
    text = written(result, tmp_path)
    check_page(text, tmp_path)
    assert text.split("\n\n")[1] == "**Learning rate 0.0316, good from 0.0141 to 0.0891.**"
    assert r"A \| b" in text
    assert "(seed 0)" in text
    assert "the loss diverged at " in text


def test_an_lr_without_suggestion_says_why_and_what_to_try(tmp_path: Path) -> None:
    text = written(lr_result(suggestion=None, warnings=("The loss never falls.",)), tmp_path)
    assert text.split("\n\n")[1] == "**No learning rate between 1e-05 and 10 can be suggested.**"
    assert "The loss never falls." in text
    assert "--from" in text


def test_search_report(tmp_path: Path) -> None:
    result = search_result()
    text = written(result, tmp_path)
    check_page(text, tmp_path)
    assert result.best is not None
    first = text.split("\n\n")[1]
    assert first == f"**Best validation accuracy 98.12 % (trial {result.best.number}), test accuracy 98.61 %.**"
    assert "98.61 % (95 % interval 98.37 % to 98.83 %) on 10,000 samples" in text
    assert "```toml\nschema = 1" in text
    assert "```sh\nprobe search recipes/mnist.toml --set search.seed=1\n```" in text
    assert "sgd: 0.002 to 0.2; adam: 0.0001 to 0.01" in text
    assert "/home/me" not in text
    plots = {path.name for path in tmp_path.glob("*.png")}
    assert plots == set(re.findall(r"\((\w+\.png)\)", text))
    assert {"lr_sgd.png", "lr_adam.png", "batch_memory.png", "history.png", "parallel_coordinates.png"} < plots


def test_a_search_report_says_which_scheduler_was_taken_and_why() -> None:
    result = search_result(num_trials=9)
    rungs = ", ".join(map(str, result.rungs))
    assert f"| scheduler | asha, ranked after epoch {rungs} |" in search_page(result, [])
    chosen = replace(result, scheduler_reason="asha, since it saves epochs")
    assert f"| scheduler | asha, since it saves epochs; ranked after epoch {rungs} |" in search_page(chosen, [])


def test_the_winner_is_there_as_a_recipe(tmp_path: Path) -> None:
    result = search_result()
    text = written(result, tmp_path)
    best = tomllib.loads((tmp_path / "best.toml").read_text())
    assert result.best is not None
    assert best["space"] == dict(result.best.params)
    assert best["search"]["fidelity"] == {"min": 21, "max": 21}  # as the final fit
    assert best["task"] == {"model": "cnn", "data": "mnist"}
    assert "probe train best.toml" in text
    head = (tmp_path / "best.toml").read_text().split("\n\n")[0]
    assert f"trial {result.best.number}, the best of 40" in head
    assert "accuracy 98.61 %, 95 % interval 98.37 % to 98.83 %" in head


def test_without_a_final_training_the_winners_recipe_trains_to_its_best_epoch() -> None:
    one = trial(4, Random(2))
    accuracies = [report.metrics["accuracy"] for report in one.reports]
    text = best_recipe(plain_search_result(one)) or ""
    assert tomllib.loads(text)["search"]["fidelity"]["max"] == accuracies.index(max(accuracies)) + 1
    assert best_recipe(plain_search_result()) is None


def test_train_report(tmp_path: Path) -> None:
    result = train_result()
    text = written(result, tmp_path)
    check_page(text, tmp_path)
    first = text.split("\n\n")[1]
    assert all(fact in first for fact in ("alidation accuracy", "test accuracy 98.61 %", "21 epochs"))
    assert "98.61 % (95 % interval 98.37 % to 98.83 %) on 10,000 samples" in text
    assert 'safetensors.torch.load_model(model, "weights.safetensors")' in text
    assert "48,000 training, 12,000 validation, 10,000 test samples" in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "history.csv").read_text())))
    losses, metrics = ["train_loss", "val_loss"], ["train_accuracy", "val_accuracy", "val_macro_f1"]
    assert list(rows[0]) == ["epoch", "seconds", *losses, *metrics]
    assert [float(row["train_accuracy"]) for row in rows] == [r.train_metrics["accuracy"] for r in result.reports]
    assert [float(row["val_accuracy"]) for row in rows] == [r.metrics["accuracy"] for r in result.reports]
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"report.md", "result.json", "history.csv", "learning_curves.png"}


def test_a_long_search_shows_its_best_trials_and_points_to_the_rest(tmp_path: Path) -> None:
    result = search_result(num_trials=120)
    text = search_page(result, [])
    assert "The best 50 of 120 trials" in text
    write_search_files(result, tmp_path)
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 121
    check_page(text, tmp_path)


def test_trials_csv_has_the_promised_columns_in_the_order_of_the_space(tmp_path: Path) -> None:
    result = search_result()
    write_search_files(result, tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "trials.csv").read_text())))
    names = ["batch_size", "optimizer", "lr", "momentum", "weight_decay", "width"]
    assert list(rows[0]) == [
        "number",
        "status",
        "value",
        "epochs",
        "seconds",
        *(f"param_{name}" for name in names),
        "gradient_accumulation",
        "message",
    ]
    for row, made in zip(rows, result.trials, strict=True):
        assert row["status"] == made.status
        assert row["value"] == ("" if made.value is None else repr(made.value))
        assert row["param_batch_size"] == str(made.params["batch_size"])
        assert row["param_momentum"] == str(made.params.get("momentum", ""))


@pytest.mark.parametrize(
    ("result", "note"),
    [
        (batch_result(stopped_by="interrupted"), "the sweep was interrupted"),
        (comparison(stopped_by="interrupted"), "the comparison was interrupted"),
        (lr_result(stopped_by="interrupted"), "the probe was interrupted"),
        (confirmed_lr_result(stopped_by="interrupted"), "the probe was interrupted"),
        (lr_comparison(stopped_by="interrupted"), "the comparison was interrupted"),
        (lr_comparison(stopped_by="error"), "an error ended the comparison"),
        (plain_search_result(stopped_by="interrupted"), "the search was interrupted"),
        (plain_search_result(stopped_by="failures"), "too many trials failed"),
        (train_result(planned=30), "the training was interrupted"),
    ],
    ids=["batch", "comparison", "lr", "confirmed lr", "lr comparison", "lr error", "search", "failures", "training"],
)
def test_a_partial_result_says_so_before_anything_else(result: Result, note: str, tmp_path: Path) -> None:
    block = written(result, tmp_path).split("\n\n")[1]
    assert block.startswith("> **Partial result:**")
    assert note in block


def failed_searches() -> list[SearchResult]:
    draw = Random(2)
    one = trial(4, draw)
    without_validation = replace(one, reports=reports(3, 0.9, draw, with_validation=False))
    return [
        plain_search_result(),
        plain_search_result(one),
        plain_search_result(without_validation, metric="loss", mode="min"),
        plain_search_result(replace(one, reports=())),
        plain_search_result(trial(12, draw), trial(17, draw), stopped_by="failures"),
    ]


@pytest.mark.parametrize(
    "result",
    [
        batch_result(attempts=(), largest_fit=None, recommended=None, stopped_by="interrupted", limit_bytes=None),
        batch_result(attempts=(attempt(8),), largest_fit=8, recommended=8, limit_bytes=None),
        predicted_result(8),
        predicted_result(predictions=(), prediction_info=None),
        comparison(variants=()),
        comparison(variants=comparison().variants[:1], stopped_by="interrupted"),
        lr_result(suggestion=None, curves=()),
        lr_result(suggestion=None, curves=(LrCurve(seed=0, points=lr_curve().points[:1], ended_by="non_finite"),)),
        lr_comparison(results=lr_comparison().results[-1:]),
        lr_comparison("batch_size"),
        train_result(num_epochs=0, planned=3),
        train_result(num_epochs=1),
        *failed_searches(),
    ],
    ids=[
        "no attempt",
        "one",
        "one card",
        "no card",
        "no way",
        "one way",
        "no curve",
        "one point",
        "no lr of several",
        "batch sizes",
        "no epoch",
        "one epoch",
        "no trial",
        "one trial",
        "no val",
        "no reports",
        "all failed",
    ],
)
def test_edge_cases_give_a_whole_report(result: Result, tmp_path: Path) -> None:
    check_page(written(result, tmp_path), tmp_path)
    assert load_result(tmp_path) == result


@given(batch_results() | comparisons() | lr_results() | lr_comparisons() | search_results() | train_results())
# not shrunk: every example draws eight plots
@settings(
    deadline=None,
    max_examples=10,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
def test_any_valid_result_gives_a_report(result: Result) -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = written(result, Path(folder))
        check_page(text, Path(folder))
        assert load_result(Path(folder)) == result


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(lr_result(), tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_result_is_stored_though_drawing_fails(tmp_path: Path) -> None:
    (tmp_path / "memory.png").mkdir()
    with pytest.raises(OutputError, match=r"memory\.png cannot be written"):
        write_report(batch_result(), tmp_path)
    assert load_result(tmp_path) == batch_result()


def test_redrawing_needs_no_torch_and_gives_the_same_files(tmp_path: Path) -> None:
    write_report(search_result(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        if path.name != "result.json":
            path.unlink()
    program = (
        "import sys; from pathlib import Path; from probe.report.store import redraw_report\n"
        "heavy = {'torch', 'optuna', 'click', 'rich', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "redraw_report(Path(sys.argv[1]))\n"
        "print(sorted(heavy), sorted({'torch', 'optuna', 'click', 'rich', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == "[] []\n"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_redrawing_from_the_file_draws_beside_it(tmp_path: Path) -> None:
    write_report(lr_result(), tmp_path)
    (tmp_path / "report.md").unlink()
    assert redraw_report(tmp_path / "result.json") == tmp_path / "report.md"
    assert (tmp_path / "report.md").exists()
