"""Searches compared: the record, its page and its picture."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_records import COMPARED_RECIPE, META, plain_search_result, search_result, trial
from record_strategies import search_results

from probe.errors import UsageError
from probe.records_json import from_plain, to_plain
from probe.report.search.comparison import (
    answer_text,
    group_header,
    group_rows,
    mean_curve,
    run_rows,
    search_comparison_page,
    spread_text,
)
from probe.report.store import load_result, redraw_report, write_report
from probe.search.compare.compare import NamedSearch, compare_searches, incumbents_of_trials, spread
from probe.search.records.comparison import SearchComparison, Spread
from probe.search.records.search import SearchResult


def run(
    folder: str, *, name: str = "digits", seed: int = 0, sampler: str = "random", data: str = "digits", draw: int = 1
) -> NamedSearch:
    made = Random(draw)
    result = plain_search_result(
        *(trial(number, made) for number in range(9)),
        name=name,
        sampler=sampler,
        recipe=COMPARED_RECIPE.format(name=name, sampler=sampler, seed=seed, data=data),
        meta=replace(META, seed=seed),
    )
    return NamedSearch(folder=folder, result=result, curve=incumbents_of_trials(result))


def test_runs_of_one_recipe_with_other_seeds_are_one_group() -> None:
    runs = [run(f"r{seed}", seed=seed, draw=seed) for seed in range(3)] + [run("b", name="bayes", draw=7)]
    result = compare_searches(runs)
    assert [(group.title, group.num_runs) for group in result.groups] == [("digits", 3), ("bayes", 1)]
    values = [r.result.best.value for r in runs[:3] if r.result.best is not None]
    group = result.groups[0]
    assert group.value is not None
    assert group.value.mean == pytest.approx(sum(values) / 3)
    assert (group.value.low, group.value.high) == (min(values), max(values))
    assert result.groups[1].value is not None
    assert result.groups[1].value.deviation is None


def test_groups_of_one_name_are_told_apart_by_what_differs() -> None:
    by_sampler = compare_searches([run("a"), run("b", sampler="tpe")])
    assert [group.title for group in by_sampler.groups] == ["digits, random", "digits, tpe"]
    schedulers = [
        replace(one, result=replace(one.result, scheduler=scheduler, rungs=rungs))
        for one, scheduler, rungs in ((run("a"), "asha", (1, 9)), (run("b"), "none", (9,)), (run("c"), "none", (9,)))
    ]
    by_scheduler = compare_searches(schedulers)  # as where `auto` chose differently, of one recipe
    assert [(group.title, group.num_runs) for group in by_scheduler.groups] == [
        ("digits, random, asha", 1),
        ("digits, random, none", 2),
    ]
    other_data = compare_searches([run("a"), run("b", data="mnist")])
    assert [group.title for group in other_data.groups] == ["digits (a)", "digits (b)"]
    [warning] = other_data.warnings
    assert warning.startswith("The runs were trained on different data (digits; mnist)")


def test_the_target_is_the_weakest_runs_best_and_every_run_reaches_it() -> None:
    runs = [run("a", draw=1), run("b", name="other", draw=2)]
    result = compare_searches(runs)
    values = [r.result.best.value for r in runs if r.result.best is not None]
    assert result.target == min(values)
    for compared in result.runs:
        assert compared.epochs_to_target is not None
        assert compared.epochs_to_target <= compared.epochs


def test_different_goals_are_refused_by_name() -> None:
    other = run("b", name="b")
    loss = replace(other, result=replace(other.result, metric="loss", mode="min", best=None))
    with pytest.raises(UsageError, match=r"a has max accuracy, b has min loss"):
        compare_searches([run("a"), loss])
    with pytest.raises(UsageError, match="at least two runs, not 1"):
        compare_searches([run("a")])


def test_a_run_without_a_value_has_a_row_and_no_line(tmp_path: Path) -> None:
    nothing = plain_search_result(recipe="", name="nothing", stopped_by="interrupted", warnings=())
    result = compare_searches([run("a"), NamedSearch(folder="n", result=nothing, curve=())])
    assert [row[0] for row in group_rows(result)] == ["digits", "nothing"]
    assert group_rows(result)[1][-3:] == ("-", "-", "-")
    assert any("topped early" in warning and warning.endswith(" n.") for warning in result.warnings)
    write_report(result, tmp_path / "c")
    assert (tmp_path / "c" / "comparison.png").is_file()


def test_nothing_but_runs_without_a_value(tmp_path: Path) -> None:
    empty = [
        NamedSearch(folder=name, result=plain_search_result(recipe="", name=name), curve=()) for name in ("a", "b")
    ]
    result = compare_searches(empty)
    assert result.target is None
    assert "nothing to compare" in answer_text(result)
    write_report(result, tmp_path / "c")
    assert not (tmp_path / "c" / "comparison.png").exists()


def test_the_answer_names_the_best_and_doubts_a_difference_that_seeds_make() -> None:
    same = [run(f"{name}{seed}", name=name, seed=seed, draw=seed) for name in ("a", "b") for seed in range(3)]
    assert answer_text(compare_searches(same)).endswith("within the variation between seeds")
    assert "repeat them with other seeds" in answer_text(compare_searches([same[0], same[-1]]))


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("accuracy", Spread(mean=0.98214, deviation=0.0034, low=0, high=1), "98.21 ± 0.34 %"),
        ("accuracy", Spread(mean=0.98214, deviation=None, low=0, high=1), "98.21 %"),
        ("loss", Spread(mean=0.123456, deviation=0.00321, low=0, high=1), "0.1235 ± 0.0032"),
        ("loss", Spread(mean=12.3456, deviation=0.321, low=0, high=20), "12.35 ± 0.32"),
        ("loss", None, "-"),
    ],
)
def test_means_are_written_with_the_digits_of_their_spread(metric: str, value: Spread | None, text: str) -> None:
    assert spread_text(metric, value) == text


@settings(deadline=None, max_examples=40)
@given(values=st.lists(st.floats(-1e6, 1e6), max_size=6))
def test_a_spread_lies_between_its_ends(values: list[float]) -> None:
    found = spread(values)
    assert (found is None) == (not values)
    if found is not None:
        assert found.low - 1e-6 <= found.mean <= found.high + 1e-6
        assert (found.deviation is None) == (len(values) == 1)


@settings(deadline=None, max_examples=25)
@given(results=st.lists(search_results(), min_size=2, max_size=4))
def test_any_searches_with_one_goal_make_a_whole_page(results: list[SearchResult]) -> None:
    goal: dict[str, Any] = {"metric": results[0].metric, "mode": results[0].mode}
    searches = []
    for number, made in enumerate(results):
        same = made if (made.metric, made.mode) == tuple(goal.values()) else replace(made, **goal)
        searches.append(NamedSearch(folder=f"r{number}", result=same, curve=incumbents_of_trials(same)))
    result = compare_searches(searches)
    assert from_plain(SearchComparison, to_plain(result)) == result
    assert all(len(row) == len(group_header(result)) for row in group_rows(result))
    assert len(run_rows(result)) == len(results)
    text = search_comparison_page(result, [])
    for block in re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"\|", re.sub(r"\\.", "", line))) for line in block.splitlines()}) == 1
    for group in result.groups:
        curve = mean_curve(result, group)
        assert (curve is None) == (group.value is None)
        if curve is not None and group.value is not None:
            assert curve.means[-1] == pytest.approx(group.value.mean)
            assert list(curve.epochs) == sorted(set(curve.epochs))


def test_it_is_stored_and_drawn_again(tmp_path: Path) -> None:
    runs = [
        run(f"{name}{seed}", name=name, seed=seed, draw=seed + len(name)) for name in ("a", "bb") for seed in (0, 1)
    ]
    result = compare_searches(runs, argv=("probe", "compare", "a0", "bb0"))
    path = write_report(result, tmp_path / "c")
    assert path.name == "comparison.md"
    assert sorted(file.name for file in path.parent.iterdir()) == ["comparison.md", "comparison.png", "result.json"]
    text = path.read_text()
    assert "probe compare a0 bb0" in text
    assert load_result(path.parent) == result
    path.unlink()
    assert redraw_report(tmp_path / "c").read_text() == text


def test_a_whole_search_with_its_test_score(tmp_path: Path) -> None:
    whole = search_result()
    other = replace(whole, name="other", recipe=whole.recipe.replace("mnist", "other"))
    result = compare_searches(
        [NamedSearch(folder=r.name, result=r, curve=incumbents_of_trials(r), is_exact=False) for r in (whole, other)]
    )
    assert "98.61 % (98.37 % to 98.83 %)" in group_rows(result)[0]
    assert any("search.sqlite" in warning for warning in result.warnings)
