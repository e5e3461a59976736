"""Rules: what they allow, and what they say."""

from __future__ import annotations

import math

import pytest

from probe.errors import TaskError
from probe.limits import BOOLEAN, PROBABILITY, Name, OneOf, Real, Rule, SomeOf, Whole, check_values, is_number, is_text

NOTHING: tuple[object, ...] = (None, [], {}, math.nan, math.inf, -math.inf)
CASES: list[tuple[Rule, tuple[object, ...], tuple[object, ...], str]] = [
    (Whole(1, 4), (1, 4), (0, 5, 2.0, True, "2"), "a whole number from 1 to 4"),
    (PROBABILITY, (0, 0.0, 0.99), (1, 1.0, -1e-9, True, "0.5"), "a number from 0 to below 1"),
    (Real(0, above=True), (1e-9, 1e30), (0, -1, 1e31), "a number above 0"),
    (Real(0, 4, above=True), (0.1, 4), (0, 4.1), "a number above 0 and at most 4"),
    (BOOLEAN, (True, False), (1, 0, "true"), "true or false"),
    (OneOf((1, 3)), (1, 3), (2, 3.0, True), "1 or 3"),
    (OneOf(("sgd", "adam")), ("sgd",), ("lion", 1), "sgd or adam"),
    (SomeOf(("shift", "flip")), ("none", "flip+shift", "shift"), ("", "flip+none", "flip+flip", 1), "none, or some of"),
    (Name("an optimizer"), ("adam",), (1, True), "the name of an optimizer"),
]


@pytest.mark.parametrize(("rule", "allowed", "refused", "text"), CASES)
def test_rule(rule: Rule, allowed: tuple[object, ...], refused: tuple[object, ...], text: str) -> None:
    assert str(rule).startswith(text)
    for value in allowed:
        assert rule.allows(value)
        rule.check("x", value)
    for value in (*refused, *NOTHING):
        assert not rule.allows(value)
        with pytest.raises(TaskError):
            rule.check("x", value)


def test_a_name_with_a_near_miss_is_asked_for() -> None:
    rules = {"loss": OneOf(("mse", "focal")), "augmentation": SomeOf(("shift", "flip"))}
    check_values(rules, loss="mse", augmentation="flip+shift")
    for given, message in (
        ({"loss": "focall"}, r"Unknown loss 'focall'.\nDid you mean focal\?"),
        ({"augmentation": "flip+shfit"}, r"Unknown augmentation 'shfit'.\nDid you mean shift\? Join several"),
        ({"augmentation": "flip+flip"}, "names flip twice"),
    ):
        with pytest.raises(TaskError, match=message):
            check_values(rules, **given)


def test_numbers_and_texts_of_a_recipe() -> None:
    for value in (0, -0.0, 2**63 - 1, 1e30, -1e-100, 1):
        assert is_number(value)
    for value in (2**63, 10**5000, 1.1e30, 1e-101, 5e-324, math.nan, math.inf, True):
        assert not is_number(value)
    assert is_text("two\nlines")
    assert not is_text("two\nlines", one_line=True)
    assert not is_text("\0", one_line=True)
    assert not any(map(is_text, ("\udcff", "x" * 1001)))
    assert is_text("Größe\u3000日本", one_line=True)
