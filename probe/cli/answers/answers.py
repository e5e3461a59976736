"""The lines that a command prints at its end: the summary of its result, laid out for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.report.kinds import kind_of

if TYPE_CHECKING:
    from probe.report.kinds import Result
    from probe.report.shared.summary import Line


def answer_lines(result: Result) -> list[Line]:
    """The answer and what supports it, without the place of the report."""
    summary = kind_of(result).summarize(result)
    return [("Answer", summary.answer), *summary.lines]
