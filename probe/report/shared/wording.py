"""Wording that all reports share: counts with their noun, metrics, intervals, and what a test score is worth."""

from __future__ import annotations

import re
from collections.abc import Callable

from probe.printable import one_line
from probe.search.records.search import Score
from probe.units import format_count, format_percent, format_value

NONE = "-"
"""A table cell without a value."""
MAX_MESSAGE = 1000
"""Characters of an error message that a table or a summary shows; trials.csv has all of them."""


def cell(value: float | None, write: Callable[[float], str], *, none: str = "") -> str:
    """A number in a table, or `none` if it is None."""
    return none if value is None else write(value)


def plural(count: float, noun: str, nouns: str | None = None) -> str:
    """`1 attempt`, `2 attempts`, `3 retries`."""
    return f"{format_count(count)} {noun if count == 1 else nouns or f'{noun}s'}"


def sentence(text: str) -> str:
    """`text` with a capital letter and a full stop, unless it ends with a punctuation mark."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?', ':')) else '.'}"


def shorten(text: str, most: int = 160) -> str:
    """`text` on one line; if it is longer than `most` characters, it is cut at a word and ends with an ellipsis."""
    line = one_line(text)
    if len(line) <= most:
        return line
    return f"{line[: most - 1].rsplit(' ', 1)[0][: most - 1]}…"


def file_name(name: str) -> str:
    """`name` reduced to letters, digits, dots, hyphens and underscores: not empty, not hidden, at most 80 characters."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")[:80] or "run"


def objective_text(metric: str) -> str:
    """`validation accuracy`, `validation loss`."""
    return f"validation {metric}"


def metric_text(name: str, value: float) -> str:
    """An accuracy between 0 and 1 in percent, any other metric with four figures."""
    return format_percent(value) if "accuracy" in name and 0 <= value <= 1 else format_value(value)


def interval_text(metric: str, low: float | None, high: float | None) -> str | None:
    """`95 % interval 95.10 % to 98.80 %`; None if the interval is not known."""
    if low is None or high is None:
        return None
    return f"95 % interval {metric_text(metric, low)} to {metric_text(metric, high)}"


def score_text(score: Score) -> str:
    """`accuracy 97.50 % (95 % interval 95.10 % to 98.80 %) on 360 samples`."""
    interval = interval_text(score.metric, score.low, score.high)
    value = f"{score.metric} {metric_text(score.metric, score.value)}{'' if interval is None else f' ({interval})'}"
    return f"{value} on {plural(score.num_samples, 'sample')}"


def baseline_text(score: Score | None, mode: str) -> str | None:
    """How a test score compares with its baseline: `33.0 % below the 4.8 of the naive forecast (last value)`.

    An error is compared in percent of the baseline's; other metrics are shown next to each other. None without a baseline.
    """
    if score is None or score.baseline is None:
        return None
    name, value = score.baseline.name, score.baseline.value
    other = f"the {metric_text(score.metric, value)} of the {name}"
    if mode != "min" or value <= 0 or score.value < 0:
        return f"against {other}"
    change = score.value / value - 1
    return f"{format_percent(abs(change), decimals=1)} {'below' if change <= 0 else 'above'} {other}"


def test_note(score: Score) -> str:
    """What the test samples had been used for before they were scored: `never used before`."""
    notes = []
    if score.num_shared:
        notes.append(f"of which {format_count(score.num_shared)} are also training or validation samples")
    if score.earlier_reads:
        notes.append(f"scored {_times(score.earlier_reads)} before, for earlier winners")
    return ", ".join(notes) or "never used before"


def test_trust(score: Score) -> str:
    """How far the test score of a search can be trusted, as the second half of a sentence on optimistic scores."""
    if score.num_shared:
        return (
            f"the test score may be optimistic too, because {format_count(score.num_shared)} of its samples are training or "
            "validation samples."
        )
    if score.earlier_reads:
        return (
            f"the test score may be slightly optimistic too, because the test split had been scored "
            f"{_times(score.earlier_reads)} before the search was resumed with a larger budget."
        )
    return "the test score is not, because the test split was read once, after every decision."


def _times(count: int) -> str:
    return "once" if count == 1 else f"{format_count(count)} times"
