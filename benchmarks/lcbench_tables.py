"""The tables of `search_lcbench.py`, from the rows of its CSV: Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

MARKS = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Shares of the budget at which a search is looked at."""
RANK_MARKS = (0.25, 1.0)
DIFFERENCE_MARKS = (0.05, 0.25, 1.0)
OURS = "probe"


def regret_column(mark: float) -> str:
    return f"regret_{mark:g}"


def means(rows: pd.DataFrame) -> list[str]:
    """One line a method, the lowest regret at the end first: means over data sets and seeds."""
    columns = [*map(regret_column, MARKS), "trials", "seconds"]
    table = rows.groupby("method")[columns].mean().sort_values(regret_column(1.0))
    counts = rows.groupby("method").size()
    marks = " | ".join(f"regret at {_percent(mark)}" for mark in MARKS)
    lines = [f"| search | {marks} | trials | seconds | searches |", "|---|" + "--:|" * (len(columns) + 1)]
    for name, values in zip(table.index, table.to_numpy(), strict=True):
        *regrets, trials, seconds = map(float, values)
        shown = " | ".join(f"{regret:.3f}" for regret in regrets)
        lines.append(f"| {name} | {shown} | {trials:.1f} | {seconds:.1f} | {counts[name]} |")
    return lines


def mean_ranks(rows: pd.DataFrame) -> list[str]:
    """One line a method, over the searches (data set and seed) that every method has made; 1: the lowest regret."""
    ranks = {mark: _wide(rows, mark).dropna().rank(axis=1) for mark in RANK_MARKS}
    last = ranks[RANK_MARKS[-1]]
    marks = " | ".join(f"mean rank at {_percent(mark)}" for mark in RANK_MARKS)
    lines = [f"| of {len(last)} searches that every method has | {marks} |", "|---|" + "--:|" * len(RANK_MARKS)]
    for name in last.mean().sort_values().index:
        lines.append(f"| {name} | {' | '.join(f'{float(ranks[mark][name].mean()):.2f}' for mark in RANK_MARKS)} |")
    return lines


def differences(rows: pd.DataFrame) -> list[str]:
    """One line a method: its regret minus ours, of the same data set and seed. Above zero: ours is ahead.

    The standard error is over data sets, seeds of one data set averaged: what the searches would do on other data sets.
    """
    wide = {mark: _wide(rows, mark) for mark in DIFFERENCE_MARKS}
    if OURS not in wide[1.0]:
        return []
    marks = " | ".join(f"at {_percent(mark)}" for mark in DIFFERENCE_MARKS)
    lines = [f"| regret minus `{OURS}`'s, ± its standard error | {marks} | data sets |"]
    lines.append("|---|" + "--:|" * (len(DIFFERENCE_MARKS) + 1))
    for name in wide[1.0].columns.drop(OURS):
        by_task = {mark: (wide[mark][name] - wide[mark][OURS]).dropna().groupby("task").mean() for mark in wide}
        shown = " | ".join(mean_and_error(list(by_task[mark])) for mark in DIFFERENCE_MARKS)
        lines.append(f"| {name} | {shown} | {len(by_task[1.0])} |")
    return lines


def mean_and_error(values: Sequence[float]) -> str:
    """`+0.120 ± 0.031`: mean and standard error; without it where there is one value."""
    if not values:
        return ""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:+.3f}"
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return f"{mean:+.3f} ± {math.sqrt(variance / len(values)):.3f}"


def tables(rows: pd.DataFrame) -> list[str]:
    """All of them, an empty line between two."""
    parts = [means(rows), mean_ranks(rows), differences(rows)]
    return [line for part in parts if part for line in ("", *part)][1:]


def _wide(rows: pd.DataFrame, mark: float) -> pd.DataFrame:
    """A line for each data set and seed, a column for each method."""
    return rows.pivot_table(index=["task", "seed"], columns="method", values=regret_column(mark))


def _percent(mark: float) -> str:
    return f"{100 * mark:g} %"
