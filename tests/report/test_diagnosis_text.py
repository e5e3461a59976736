"""A diagnosis in the report of a search."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given, settings
from made_records import plain_search_result, reports, search_result, trial
from record_strategies import diagnoses

from probe.diagnosis.diagnose import diagnose
from probe.report.search.page import WINNER_PLOT, search_page
from probe.report.shared.diagnosis_text import diagnosis_block, diagnosis_line
from probe.training.records import Diagnosis, EpochReport


def of(train: list[float], val: list[float] | None, untrained_loss: float | None = 2.3) -> Diagnosis:
    told = [
        EpochReport(
            epoch=number + 1, train_loss=loss, val_loss=None if val is None else val[number], metrics={}, seconds=1.0
        )
        for number, loss in enumerate(train)
    ]
    return diagnose(told, untrained_loss=untrained_loss)


FALL = [2.0, 1.2, 0.8]
JUMPS = [2.0, 0.5, 1.9, 0.4, 2.0, 0.5, 1.9, 0.4]


@pytest.mark.parametrize(
    ("diagnosis", "line"),
    [
        (of(FALL, FALL), "too few epochs to judge its curves"),
        (
            of([*FALL, *[0.5] * 9], [*FALL, *[0.55] * 9]),
            "clearly on a plateau: the validation loss is flat over the last 5 epochs, close to the training loss, "
            "after 76 % of the way from an untrained model's loss to none",
        ),
        (
            of([*FALL, *[0.7] * 9], [*FALL, *[0.5, 0.5, 0.6] * 3]),
            "clearly on a plateau: the validation loss has no trend beyond its noise over the last 5 epochs, "
            "below the training loss, after 77 % of the way from an untrained model's loss to none",
        ),
        (
            of([*FALL, *[0.01] * 9], [*FALL, *[0.05] * 9]),
            "clearly healthy: the validation loss is flat over the last 5 epochs, close to the training loss, "
            "after 98 % of the way from an untrained model's loss to none",
        ),
        (
            of([2.3] * 12, [2.31] * 12),
            "clearly underfitting: the validation loss is flat over the last 5 epochs, close to the training loss, "
            "and no lower than an untrained model's loss",
        ),
        (
            of([1.0, *[0.7] * 11], None, None),
            "perhaps underfitting: the training loss is flat over the last 5 epochs; "
            "without a validation loss no overfitting can be seen",
        ),
        (
            of([*FALL, *[0.01] * 9], [*FALL, *[0.8] * 9]),
            "clearly overfitting: the validation loss settled at 0.8, far above the training loss of 0.01",
        ),
        (
            of([2 - 0.1 * epoch for epoch in range(12)], [2 - 0.1 * epoch for epoch in range(12)]),
            "clearly still improving: the validation loss still fell by 29 % over the last 5 epochs",
        ),
        (
            of([-0.1 * epoch for epoch in range(12)], [-0.1 * epoch for epoch in range(12)], None),
            "clearly still improving: the validation loss still fell by 40 % of its total fall over the last 5 epochs",
        ),
        (
            of(JUMPS, JUMPS),
            "probably unstable: from one epoch to the next the loss jumps by 105 % of its total fall",
        ),
        (
            of([*FALL, 0.3, 0.3, 0.3, 0.5, 0.7, 0.9], [*FALL, 0.3, 0.3, 0.3, 0.5, 0.7, 0.9]),
            "perhaps unstable: training and validation loss have both risen since epoch 5",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Diagnosis) else "",
)
def test_the_line_says_what_was_seen(diagnosis: Diagnosis, line: str) -> None:
    assert diagnosis_line(diagnosis) == line


@given(diagnoses())
@settings(deadline=None, max_examples=100)
def test_any_diagnosis_is_told_in_whole_blocks(diagnosis: Diagnosis) -> None:
    blocks = diagnosis_block(diagnosis)
    assert blocks[0].startswith("### ")
    assert blocks[1].startswith("**")
    assert all(blocks)
    assert "\n" not in diagnosis_line(diagnosis)
    assert all(
        len(re.findall(r"(?<!\\)\|", row)) == 3 for block in blocks for row in block.split("\n") if row.startswith("|")
    )


def test_it_stands_under_the_winners_curves_with_its_remedies_and_numbers() -> None:
    result = search_result()
    assert result.diagnosis is not None
    text = search_page(result, [WINNER_PLOT])
    order = [
        text.index(part)
        for part in (
            "## Best trial",
            WINNER_PLOT,
            "### Diagnosis",
            "progress from the start to no loss",
            "### Final training",
            "## How it was found",
        )
    ]
    assert order == sorted(order)
    assert text.count("\n- ") >= len(result.diagnosis.remedies)


def test_what_is_code_in_a_remedy_is_code_in_the_report() -> None:
    plateau = of([*FALL, *[0.5] * 9], [*FALL, *[0.55] * 9])
    assert '`lr_schedule = "cosine"`' in diagnosis_block(plateau)[3]


def test_a_search_without_a_winner_has_no_such_section() -> None:
    assert "### Diagnosis" not in search_page(plain_search_result(trial(12, Random(0))), [])


def test_a_short_winner_is_told_to_be_too_short() -> None:
    short = diagnose(reports(3, 0.9, Random(0)))
    text = search_page(search_result(diagnosis=short), [])
    assert "**Too few epochs to judge its curves.**" in text
    assert "Measured on the curves" not in text
