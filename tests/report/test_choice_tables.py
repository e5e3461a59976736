from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from made_records import plain_search_result, search_result, trial
from record_strategies import search_results

from probe.report.search.page import search_page
from probe.report.search.tables import choices_table
from probe.search.records.search import Dimension, SearchResult, TrialResult

EMBEDDING = Dimension(name="embedding", kind="choices", choices=(0, 32, 64))


def with_embedding(number: int, embedding: int | bool, value: float | None, *, epochs: int = 3) -> TrialResult:
    made = trial(1, Random(0))
    return replace(
        made,
        number=number,
        params={"embedding": embedding, "width": 8},
        value=value,
        status="complete" if value is not None else "oom",
        epochs=epochs,
        lost_epochs=0,
        reports=made.reports[:1],
        rungs=(1,),
        seconds=2.0 * epochs,
    )


def cells(text: str | None) -> list[list[str]]:
    lines = [line for line in (text or "").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_each_choice_has_its_best_trial_and_its_cost() -> None:
    result = plain_search_result(
        with_embedding(0, 0, 0.81),
        with_embedding(1, 64, 0.85),
        with_embedding(2, 0, 0.83, epochs=9),
        with_embedding(3, 64, None),
        space=(EMBEDDING,),
    )
    assert cells(choices_table(result)) == [
        ["`embedding`", "0", "2", "83.00 %", "2", "9", "2.00 s"],
        ["`embedding`", "32", "0", "", "", "", ""],
        ["`embedding`", "64", "2", "85.00 %", "1", "3", "2.00 s"],
    ]


def test_true_is_not_one() -> None:
    space = (Dimension(name="embedding", kind="choices", choices=(True, 1)),)
    result = plain_search_result(with_embedding(0, True, 0.5), with_embedding(1, 1, 0.6), space=space)
    assert [row[2:5] for row in cells(choices_table(result))] == [["1", "50.00 %", "0"], ["1", "60.00 %", "1"]]


def test_a_search_without_lists_or_trials_has_no_such_table() -> None:
    assert choices_table(search_result(num_trials=0)) is None
    without = replace(search_result(), space=(Dimension(name="width", kind="int", low=1, high=3),))
    assert choices_table(without) is None
    assert "Choices compared" not in search_page(without, ())
    assert "### Choices compared\n\n| hyperparameter" in search_page(search_result(), ())


@given(search_results())
@settings(deadline=None, max_examples=25)
def test_the_winner_is_the_best_of_one_choice_of_each_list(result: SearchResult) -> None:
    rows = cells(choices_table(result))
    lists = [d for d in result.space if d.kind == "choices" and len(d.choices) > 1]
    if result.trials:
        assert len(rows) == sum(len(dimension.choices) for dimension in lists)
