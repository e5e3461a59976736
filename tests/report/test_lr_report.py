"""What the reports of learning rates say and draw, for results made by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_records import (
    LR_TRAINING_STEPS,
    confirm_run,
    confirmation,
    confirmed_lr_result,
    lr_comparison,
    lr_curve,
    lr_result,
)
from matplotlib.figure import Figure
from matplotlib.image import imread
from record_strategies import confirmations, lr_comparisons, lr_results

from probe.lr.records import Confirmation, FinderPicks, LrComparison, LrCurve, LrResult, LrSuggestion
from probe.lr.suggest import FREE_PASSES
from probe.report.lr import plots as lr_plots
from probe.report.lr.page import COMPARED_LRS_PLOT, LR_PLOT, lr_comparison_page, lr_page
from probe.report.lr.plots import draw_lr, draw_lr_comparison
from probe.report.lr.summary import (
    answer_text,
    comparison_rows,
    curve_text,
    method_text,
    other_finders_rows,
    other_finders_text,
    range_text,
    run_table,
    scaling_text,
    single_suggestions,
    spread_text,
    training_steps_text,
    unseen_text,
)
from probe.report.shared.plots import save_figure
from probe.units import format_lr

quick = settings(deadline=None, max_examples=40)
THREE = tuple(lr_curve(seed, peak=peak) for seed, peak in enumerate((0.04, 0.08, 0.16)))
ONE_POINT = LrCurve(seed=0, points=lr_curve().points[:1], ended_by="non_finite")


def blocks(result: LrResult, *plots: str) -> list[str]:
    return lr_page(result, plots).split("\n\n")


# what is said of a result


def test_the_answer_is_the_suggestion_with_its_range() -> None:
    assert answer_text(lr_result()) == "learning rate 0.0316, good from 0.0141 to 0.0891"
    assert blocks(lr_result())[1] == "**Learning rate 0.0316, good from 0.0141 to 0.0891.**"


def test_under_a_lr_schedule_it_is_the_peak() -> None:
    result = lr_result(lr_schedule="cosine", passes=5.0)
    assert answer_text(result).startswith("peak learning rate 0.0316, ")
    assert (
        training_steps_text(result)
        == "for a training run of 3,750 steps, 5 passes over the data at the peak learning rate"
    )


def test_without_a_suggestion_the_range_is_named_and_what_to_try() -> None:
    result = lr_result(suggestion=None, lowest_lr=1e-4, highest_lr=1.0, warnings=("The loss never falls.",))
    assert answer_text(result) == "no learning rate between 0.0001 and 1 can be suggested"
    page = lr_page(result, [])
    assert "try another range (--from, --to)" in page.replace("Try", "try")
    assert "**Warning:** The loss never falls." in page
    assert "good range" not in page
    assert scaling_text(result) is None


def test_an_interrupted_probe_without_an_answer_does_not_blame_the_task() -> None:
    page = lr_page(lr_result(suggestion=None, stopped_by="interrupted", warnings=("Too few steps.",)), [])
    assert page.split("\n\n")[1] == "> **Partial result:** the probe was interrupted."
    assert "another range" not in page


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"training_steps": None}, None),
        ({"passes": 0.0}, "for a training run of 3,750 steps"),
        ({"passes": 1.0}, "for a training run of 3,750 steps, 1 pass over the data"),
        ({"passes": 2.53}, "for a training run of 3,750 steps, 2.5 passes over the data"),
        ({"passes": FREE_PASSES}, f"for a training run of 3,750 steps, {FREE_PASSES:g} passes over the data"),
        (
            {"training_steps": 500, "training_steps_assumed": True, "passes": 0.0},
            "for a training run of 500 steps (assumed; set it with --training-steps)",
        ),
        (
            {"passes": 4 * FREE_PASSES},
            f"for a training run of 3,750 steps, {4 * FREE_PASSES:g} passes over the data: "
            "so many passes overfit at the range test's 0.126, which is divided by 4",
        ),
        ({"passes": 40.0, "suggestion": None}, "for a training run of 3,750 steps, 40 passes over the data"),
    ],
    ids=["older", "endless", "one pass", "passes", "the limit", "assumed", "divided", "no suggestion"],
)
def test_the_training_length_in_words(changes: dict[str, Any], text: str | None) -> None:
    assert training_steps_text(lr_result(**changes)) == text


def test_the_page_tells_the_horizon_and_whether_it_is_assumed() -> None:
    told, assumed = lr_page(lr_result(), []), lr_page(lr_result(training_steps=500, training_steps_assumed=True), [])
    assert "For a training run of 3,750 steps, 5 passes over the data." in told
    assert "| planned training | 3,750 steps |" in told
    assert "assumed" not in told
    assert "For a training run of 500 steps (assumed; set it with --training-steps)" in assumed
    assert "| planned training | 500 steps (assumed) |" in assumed
    assert "planned training" not in lr_page(lr_result(training_steps=None), [])


def test_many_passes_are_explained_only_where_they_lowered_the_answer() -> None:
    assert "is lowered in proportion" in lr_page(lr_result(passes=FREE_PASSES + 1), [])
    assert "is lowered in proportion" not in lr_page(lr_result(passes=FREE_PASSES), [])
    confirmed = training_steps_text(confirmed_lr_result(passes=40.0))
    assert (
        confirmed == "for a training run of 3,750 steps, 40 passes over the data"
    )  # the runs have seen the horizon themselves


@given(st.floats(0.01, 1e4))
@quick
def test_what_the_range_test_read_is_the_suggestion_times_what_it_was_divided_by(passes: float) -> None:
    text = training_steps_text(lr_result(passes=passes)) or ""
    found = re.search(r"the range test's (\S+), which is divided by (\S+)$", text)
    assert (found is not None) == (passes > FREE_PASSES)
    if found is not None:
        assert float(found[2]) == pytest.approx(passes / FREE_PASSES, rel=0.06)
        assert float(found[1]) == pytest.approx(0.0316 * passes / FREE_PASSES, rel=0.01)


def test_other_rules_are_listed_and_a_missing_pick_is_a_dash() -> None:
    picks = FinderPicks(steepest=0.01, minimum_tenth=None, valley=0.002)
    result = lr_result(other_finders=picks)
    assert other_finders_rows(result) == [("steepest", "0.01"), ("minimum / 10", "-"), ("valley", "0.002")]
    assert all(
        fact in (other_finders_text(result) or "") for fact in ("steepest 0.01", "minimum / 10 -", "valley 0.002")
    )
    assert "| steepest | 0.01 |\n| minimum / 10 | - |\n| valley | 0.002 |" in lr_page(result, [])
    older = lr_result(other_finders=None)
    assert other_finders_text(older) is None
    assert "Rules of other" not in lr_page(older, [])


def test_several_range_tests_tell_their_spread() -> None:
    result = lr_result(curves=THREE)
    alone = single_suggestions(result)
    assert len(alone) == 3
    assert alone == sorted(alone)  # each curve falls an octave later than the one before
    spread = spread_text(result)
    assert spread is not None
    assert spread.endswith(f"3 single range tests: {format_lr(alone[0])} to {format_lr(alone[-1])}")
    assert method_text(result).startswith("the mean of 3 range tests: ")
    page = lr_page(result, [])
    assert spread[1:] in page
    assert [f"(seed {seed})" in page for seed in (0, 1, 2, 3)] == [True, True, True, False]


def test_one_range_test_has_no_spread() -> None:
    assert spread_text(lr_result()) is None
    assert method_text(lr_result()).startswith("the range test: ")
    assert single_suggestions(lr_result(curves=(ONE_POINT, *THREE))) == single_suggestions(lr_result(curves=THREE))


@given(st.sampled_from([1.0, 20.0, 160.0]))
@quick
def test_single_suggestions_are_lowered_for_many_passes_like_the_answer(passes: float) -> None:
    [plain], [lowered] = (single_suggestions(lr_result(passes=many)) for many in (0.0, passes))
    assert lowered == pytest.approx(plain * min(1.0, FREE_PASSES / passes))


def test_each_curve_says_how_it_ended() -> None:
    whole = LrCurve(seed=7, points=lr_curve(peak=5.0).points, ended_by="finished")
    assert len(whole.points) == 300 > len(lr_curve().points)
    assert curve_text(whole).startswith("range test (seed 7): 300 steps from 1e-05 to 10, ")
    endings = {
        "diverged": "; the loss diverged at 10",
        "non_finite": "; the loss was no longer finite at 10",
        "interrupted": "; interrupted at 10",
    }
    for ended_by, end in endings.items():
        ended = replace(whole, ended_by=ended_by)  # type: ignore[arg-type]  # a literal out of a loop
        assert curve_text(ended).endswith(end)
        assert curve_text(ended)[1:] in lr_page(lr_result(curves=(ended,)), [])
    empty = LrCurve(seed=7, points=(), ended_by="non_finite")
    assert curve_text(empty) == "no step was completed"
    assert "No step was measured." in lr_page(lr_result(suggestion=None, curves=(empty,)), [])


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [("sgd", "in proportion"), ("adamw", "with the square root"), ("rmsprop", "with the square root"), ("lion", None)],
)
def test_the_rule_for_other_batch_sizes_is_that_of_the_optimizer(optimizer: str, words: str | None) -> None:
    text = scaling_text(lr_result(optimizer=optimizer))
    assert (text is None) == (words is None)
    assert words is None or f"scale it {words} (" in (text or "")
    assert ("--batch 32,128,512 measures it." in lr_page(lr_result(optimizer=optimizer), [])) == (words is not None)


# the runs that confirm


def test_runs_are_rows_with_the_one_that_blew_up() -> None:
    rows = run_table(confirmation()).rows
    assert [row[0] for row in rows] == ["0.001", "0.00316", "0.01", "0.0316", "0.1"]
    assert rows[-1][1:] == ("diverged", "-")
    measured, expected = ([float(row[column]) for row in rows[:-1]] for column in (1, 2))
    assert measured == sorted(measured, reverse=True)
    assert all(later < now for later, now in zip(expected, measured, strict=True))


def test_a_confirmed_answer_tells_what_it_rests_on() -> None:
    result = confirmed_lr_result()
    assert all(fact in method_text(result) for fact in ("5 runs of 100 steps", "1,600 validation samples"))
    assert "at most 2 %" in range_text(result)
    assert range_text(result) in lr_page(result, [])
    assert "at most 2 %" not in range_text(lr_result())
    page = lr_page(result, [])
    header = "| learning rate | loss after 100 steps | expected at the end |"
    table = page.partition(header)[2].partition("\n\n")[0].splitlines()[2:]
    assert table == [f"| {' | '.join(row)} |" for row in run_table(confirmation()).rows]
    assert "on 1,600 validation samples (2.3 before training)" in page
    assert f"at the end of {LR_TRAINING_STEPS:,} steps." in page
    assert "--confirm checks" not in page
    assert "--confirm checks" in lr_page(lr_result(), [])


def test_runs_that_were_interrupted_do_not_carry_the_answer() -> None:
    made = confirmation(runs=confirmation().runs[:2])
    result = lr_result(confirmation=made, stopped_by="interrupted")
    page = lr_page(result, [])
    assert method_text(result).startswith("the range test: ")
    assert "| 0.00316 | " in page
    assert "The suggestion is the lowest learning rate" not in page
    assert "The suggestion is the lowest learning rate" in lr_page(confirmed_lr_result(), [])


def test_what_was_held_out_is_not_called_validation() -> None:
    held_out = confirmation(measured_on="held_out", num_samples=287)
    assert unseen_text(held_out) == "287 samples held out from the training data"
    assert "on 287 samples held out from the training data (" in lr_page(confirmed_lr_result(confirmation=held_out), [])


@given(confirmations())
@quick
def test_every_run_has_a_row(made: Confirmation) -> None:
    rows = run_table(made).rows
    assert [row[0] for row in rows] == [format_lr(run.lr) for run in made.runs]
    for (_, measured, expected), run in zip(rows, made.runs, strict=True):
        assert measured.startswith(("diverged", "raised ")) == (not run.finished or not run.evaluations)
        assert (expected == "-") == (run.expected_loss is None)


@given(lr_results())
@quick
def test_any_result_has_one_answer_and_its_warnings(result: LrResult) -> None:
    page = lr_page(result, [])
    assert (answer_text(result).startswith("no learning rate")) == (result.suggestion is None)
    assert ("**Warning:**" in page) == bool(result.warnings)
    assert ("### Confirmation runs" in page) == (result.confirmation is not None)
    assert "![" not in page
    assert spread_text(result) is None or len(single_suggestions(result)) > 1


# several optimizers or batch sizes


def test_a_comparison_is_a_row_for_each() -> None:
    result = lr_comparison()
    assert comparison_rows(result) == [
        ("sgd", "0.0316", "0.0141 to 0.0891", "275"),
        ("adam", "0.0016", "0.0007 to 0.004", "211"),
        ("adamw", "-", "-", "275"),
    ]
    assert [row[0] for row in comparison_rows(lr_comparison("batch_size"))] == ["16", "64"]


def test_the_page_of_a_comparison_holds_the_answer_of_each() -> None:
    page = lr_comparison_page(lr_comparison(), [COMPARED_LRS_PLOT])
    assert page.startswith("# Learning rates for each optimizer: cnn on mnist\n")
    assert "| sgd | 0.0316 | 0.0141 to 0.0891 | 275 |" in page
    assert f"({COMPARED_LRS_PLOT})" in page
    assert "### sgd\n\n**Learning rate 0.0316, good from 0.0141 to 0.0891.**" in page
    assert "### adamw\n\n**No learning rate between 1e-05 and 10 can be suggested.**" in page
    assert r"**Warning:** The loss \| never falls." in page
    assert page.count("<details>") == page.count("</details>") == 3
    assert "761 training steps, 13.7 s." in page
    assert "| batch size | 64 |" in page


def test_a_comparison_of_batch_sizes_names_the_optimizer_they_share() -> None:
    page = lr_comparison_page(lr_comparison("batch_size"), [])
    assert page.startswith("# Learning rates for each batch size: ")
    assert "| batch size | suggested | good range | steps |" in page
    assert "| optimizer | sgd |" in page
    assert "linear" not in page.partition("## Each batch size")[2]
    assert "### Confirmation runs" in page.partition("### 64")[2]
    assert "![" not in page


@given(lr_comparisons())
@quick
def test_any_comparison_has_every_answer(result: LrComparison) -> None:
    page = lr_comparison_page(result, [])
    assert page.count("<details>") == len(result.results)
    assert len(comparison_rows(result)) == len(result.results)
    assert ("**Partial result:**" in page) == (result.stopped_by != "finished")


# plots


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, in order."""
    saved: list[Figure] = []

    def keep(figure: Figure, path: Path) -> None:
        saved.append(figure)
        save_figure(figure, path)

    monkeypatch.setattr(lr_plots, "save_figure", keep)
    return saved


def labels(figure: Figure) -> list[list[str]]:
    """The entries of every panel's legend."""
    legends = [axes.get_legend() for axes in figure.axes]
    return [[text.get_text() for text in legend.get_texts()] for legend in legends if legend is not None]


SUGGESTED = "suggested: 0.0316\n(good from 0.0141 to 0.0891)"
DRAWN = {
    "one curve": (lr_result(), [["raw loss of each step", "smoothed loss", SUGGESTED]]),
    "three curves": (
        lr_result(curves=THREE),
        [["raw losses", "smoothed, all seeds", "mean of 3 smoothed", SUGGESTED]],
    ),
    "no suggestion": (lr_result(suggestion=None), [["raw loss of each step", "smoothed loss"]]),
    "single point": (
        lr_result(suggestion=None, curves=(ONE_POINT,)),
        [["raw loss of each step", "smoothed loss"]],
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_range_test_is_drawn(name: str, tmp_path: Path, figures: list[Figure]) -> None:
    result, expected = DRAWN[name]
    picks = [f"{rule}: {lr}" for rule, lr in other_finders_rows(result) if lr != "-"]
    assert draw_lr(result, tmp_path / LR_PLOT)
    assert imread(tmp_path / LR_PLOT).shape[0] > 100
    assert labels(figures[0]) == [[*expected[0], *picks]]
    low, high = figures[0].axes[0].get_xlim()
    assert low < 1e-5
    assert high > (result.suggestion.high if result.suggestion is not None else 1e-4)


def test_the_runs_get_a_panel_of_their_own(tmp_path: Path, figures: list[Figure]) -> None:
    result = confirmed_lr_result()
    assert draw_lr(result, tmp_path / LR_PLOT)
    height, width, _ = imread(tmp_path / LR_PLOT).shape
    assert width > 1.5 * height
    left, right = labels(figures[0])
    assert "smoothed loss" in left
    assert right[:4] == [
        "measured after 100 steps",
        "expected after 3,750 steps",
        "before training",
        "diverged",
    ]
    assert right[4].startswith("suggested: ")
    low, high = figures[0].axes[1].get_ylim()
    assert low < 0.2 < 2.3 < high


def test_runs_that_all_blew_up_are_drawn_too(tmp_path: Path, figures: list[Figure]) -> None:
    runs = tuple(confirm_run(lr, blows_up_after=25) for lr in (0.1, 1.0))
    result = lr_result(confirmation=confirmation(runs=runs))
    assert draw_lr(result, tmp_path / LR_PLOT)
    assert labels(figures[0])[1] == ["before training", "diverged", SUGGESTED]


def test_a_result_without_a_point_has_no_plot(tmp_path: Path) -> None:
    empty = LrCurve(seed=0, points=(), ended_by="non_finite")
    assert not draw_lr(lr_result(suggestion=None, curves=(empty,)), tmp_path / LR_PLOT)
    assert not list(tmp_path.iterdir())
    assert LR_PLOT not in lr_page(lr_result(), [])
    assert f"]({LR_PLOT})" in lr_page(lr_result(), [LR_PLOT])


def test_suggestions_of_a_comparison_are_drawn_in_their_order(tmp_path: Path, figures: list[Figure]) -> None:
    assert draw_lr_comparison(lr_comparison(), tmp_path / COMPARED_LRS_PLOT)
    assert imread(tmp_path / COMPARED_LRS_PLOT).shape[1] > 100
    [axes] = figures[0].axes
    assert [text.get_text() for text in axes.texts] == ["0.0316", "0.0016"]
    figures[0].canvas.draw()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sgd", "adam", "adamw"]
    low, high = axes.get_xlim()
    assert low < 7e-4 < 0.0891 < high


def test_a_comparison_without_a_suggestion_has_no_plot(tmp_path: Path) -> None:
    none = lr_comparison(results=(lr_result(suggestion=None),))
    assert not draw_lr_comparison(none, tmp_path / COMPARED_LRS_PLOT)
    assert not list(tmp_path.iterdir())


def test_a_suggestion_outside_the_tested_range_is_refused() -> None:
    with pytest.raises(ValueError, match="outside the tested"):
        lr_result(suggestion=LrSuggestion(lr=0.5, low=0.1, high=20.0))
