"""`best.toml`: a search's winner as a recipe of one configuration, saying where it comes from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from probe.recipe.dump import comment, dump_plain
from probe.recipe.fixed import fixed_plain
from probe.report.search.summary import winner
from probe.report.search.tables import end_text
from probe.report.shared.common import baseline_text, metric_text
from probe.report.shared.markdown import command
from probe.search.records.objective import Objective, best_epoch
from probe.search.records.search import Dimension, SearchResult
from probe.units import format_count, format_value


def best_recipe(result: SearchResult) -> str | None:
    """The text of best.toml; None without a winner, or where the recipe in the record is not one (made by hand)."""
    head, body = _origin(result), best_body(result)
    return None if body is None else "\n".join([*map(comment, head), "", body])


def best_body(result: SearchResult) -> str | None:
    """best.toml without the comments at its head."""
    best = result.best
    try:
        plain = tomllib.loads(result.recipe)
    except tomllib.TOMLDecodeError:
        return None
    if best is None or not {"schema", "name", "task"} <= plain.keys():
        return None
    optimizer = str(best.params.get("optimizer", ""))
    comments = {f"space.{found.name}": f"searched: {_searched(found, optimizer)}" for found in result.space}
    comments["search.fidelity"] = "epochs: the winner's best number, over which a schedule is stretched"
    comments["search.seed"] = "holds out the same validation part as the search did"
    won = winner(result)
    params = dict(best.params)
    if won is not None and won.gradient_accumulation is not None:
        params["gradient_accumulation"] = won.gradient_accumulation
        comments["space.accumulation"] = "a whole batch did not fit in memory"
    return dump_plain(fixed_plain(plain, params, epochs=_num_epochs(result, plain)), comments=comments)


def _num_epochs(result: SearchResult, plain: Mapping[str, Any]) -> int:
    """How long the winner is to be trained: as the final fit, or up to the epoch at which its value was read."""
    if result.final is not None:
        return result.final.epochs
    won, asked = winner(result), plain["task"].get("objective", {})
    reports = () if won is None else won.reports
    objective = Objective(metric=result.metric, mode=result.mode, reduce=asked.get("reduce", "best"))
    return best_epoch(objective, reports) or max(len(reports), 1)


def _origin(result: SearchResult) -> list[str]:
    best, typed = result.best, command(result.meta.argv)
    if best is None:
        return []
    value = f"{result.metric} {metric_text(result.metric, best.value)}"
    lines = [
        "The winner of a search, as a recipe that trains it:",
        "",
        "    probe train best.toml",
        "",
        f"search:      {result.name}, {result.task}, started {result.meta.started_at}, seed {result.meta.seed}",
        *([] if typed is None else [f"command:     {typed}"]),
        f"found:       trial {best.number}, the best of {format_count(len(result.trials))}",
        f"validation:  {value}, optimistic as the best of several",
    ]
    test = result.test
    if test is not None:
        interval = ""
        if test.low is not None and test.high is not None:
            ends = [metric_text(test.metric, end) for end in (test.low, test.high)]
            interval = f", 95 % interval {ends[0]} to {ends[1]}"
        score = f"{test.metric} {metric_text(test.metric, test.value)}{interval}{baseline_text(test, result.mode)}"
        lines.append(f"test:        {score}, after a final fit on train + validation")
    return lines


def _searched(dimension: Dimension, optimizer: str) -> str:
    """Plain text; of a range that depends on the optimizer the winner's."""
    if dimension.kind == "choices":
        return ", ".join(format_value(choice) for choice in dimension.choices)
    ends = (dimension.per or {}).get(optimizer)
    low, high = (dimension.low, dimension.high) if ends is None else (ends[0], ends[-1])
    if low is None or high is None:
        return "not known"
    steps = "" if dimension.step is None else f" in steps of {end_text(dimension, dimension.step)}"
    return (
        f"{end_text(dimension, low)} to {end_text(dimension, high)}{steps}{'' if ends is None else f' for {optimizer}'}"
    )
