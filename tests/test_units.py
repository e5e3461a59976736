from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.errors import UsageError
from probe.units import (
    byte_unit,
    format_bytes,
    format_count,
    format_count_of,
    format_lr,
    format_percent,
    format_seconds,
    format_value,
    parse_bytes,
    parse_seconds,
)

quick = settings(deadline=None, max_examples=100)


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("8GiB", 8 * 2**30),
        (" 512 MiB ", 512 * 2**20),
        ("1.5g", 3 * 2**29),
        ("1GB", 10**9),
        ("1048576", 2**20),
        ("100b", 100),
        (".5k", 512),
        ("9007199254740993", 2**53 + 1),
    ],
)
def test_parse_bytes(text: str, num_bytes: int) -> None:
    assert parse_bytes(text) == num_bytes


@pytest.mark.parametrize(
    "text", ["", "GiB", "-1GiB", "8 gigs", "1e9", "8GiB8GiB", "0", "0.5", "inf", "1,5g", "9" * 400]
)
def test_parse_bytes_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="memory") as refusal:
        parse_bytes(text)
    assert f"'{text}'" in refusal.value.message


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("2m", 120),
        ("1h30m", 5400),
        ("1h 30 min", 5400),
        ("1.5h", 5400),
        ("1d", 86400),
        (".5s", 0.5),
    ],
)
def test_parse_seconds(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "-5", "1h30", "5 5m", "1.5.5", "0", "0h0m", "1e3s", "2 weeks", "inf", "9" * 400]
)
def test_parse_seconds_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="duration"):
        parse_seconds(text)


@given(st.text(max_size=12))
@quick
def test_parsing_any_text_gives_a_positive_amount_or_a_usage_error(text: str) -> None:
    for parse in (parse_bytes, parse_seconds):
        try:
            assert parse(text) > 0
        except UsageError:
            continue


@given(st.integers(min_value=1, max_value=2**60))
@quick
def test_formatted_bytes_parse_back_to_three_figures(num_bytes: int) -> None:
    assert parse_bytes(format_bytes(num_bytes)) == pytest.approx(num_bytes, rel=6e-3)


@given(st.floats(min_value=1, max_value=1e7))
@quick
def test_formatted_seconds_parse_back(seconds: float) -> None:
    assert parse_seconds(format_seconds(seconds)) == pytest.approx(seconds, rel=1e-2, abs=5e-3 if seconds < 60 else 30)


@given(st.integers(min_value=0, max_value=2**60))
@quick
def test_bytes_never_show_more_than_three_digits_before_the_unit(num_bytes: int) -> None:
    digits = re.sub(r"\D", "", format_bytes(num_bytes).split(" ")[0])
    assert len(digits) <= (4 if format_bytes(num_bytes).startswith("0.") else 3) or num_bytes > 999 * 2**40


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (1024, "1.00 KiB"),
        (int(999.6 * 2**20), "0.976 GiB"),
        (int(9.996 * 2**20), "10.0 MiB"),
        (int(99.96 * 2**20), "100 MiB"),
        (5 * 2**28, "1.25 GiB"),
        (-(2**20), "-1.00 MiB"),
        (3000 * 2**40, "3000 TiB"),
    ],
)
def test_format_bytes(num_bytes: int, text: str) -> None:
    assert format_bytes(num_bytes) == text


def test_byte_unit_is_the_one_that_format_bytes_uses() -> None:
    for num_bytes in (1, 1000, 2**20, 2**33, 2**45):
        unit, size = byte_unit(num_bytes)
        assert format_bytes(num_bytes).endswith(f" {unit}")
        assert format_bytes(size).startswith("1")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (12.3e-6, "12.3 µs"),
        (999.6e-6, "1.00 ms"),
        (0.0123, "12.3 ms"),
        (0.9996, "1.00 s"),
        (4.556, "4.56 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3600 + 119, "1 h 02 min"),
        (-125, "-2 min 05 s"),
    ],
)
def test_format_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (12345, "12,345"),
        (12345.6, "12,346"),
        (3.4567, "3.46"),
        (999.6, "1,000"),
        (64, "64"),
        (64.0, "64"),
        (0.5, "0.500"),
    ],
)
def test_format_count(count: float, text: str) -> None:
    assert format_count(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (64, "64"), (12345, "12345"), (0.98333, "0.9833"), (1.2e-5, "1.2e-05"), ("sgd", "sgd")],
)
def test_format_value(value: bool | int | float | str, text: str) -> None:
    assert format_value(value) == text


def test_format_lr_and_share() -> None:
    assert [format_lr(lr) for lr in (0.03162, 1.2e-5, 1.0)] == ["0.0316", "1.2e-05", "1"]
    assert format_percent(0.98333) == "98.33 %"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 epochs"), (1, "1 epoch"), (2, "2 epochs"), (12345, "12,345 epochs")]
)
def test_a_count_has_its_noun_in_the_right_number(count: int, text: str) -> None:
    assert format_count_of(count, "epoch") == text
    assert format_count_of(count, "class", "classes").endswith("class" if count == 1 else "classes")
