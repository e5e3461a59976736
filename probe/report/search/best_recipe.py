"""`best.toml`: the best trial of a search as a recipe of one configuration, with its origin as comments."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probe.files import write_csv, write_text
from probe.recipe.dump import comment, dump_plain, fixed_plain
from probe.report.search.figures import winner
from probe.report.search.tables import TRIALS_FILE, span_text, trials_rows
from probe.report.shared.markdown import command
from probe.report.shared.wording import baseline_text, interval_text, metric_text
from probe.search.records.objective import Objective, best_epoch
from probe.search.records.search import Dimension, SearchResult
from probe.units import format_count, format_value

BEST_FILE = "best.toml"


def write_search_files(result: SearchResult, folder: Path) -> None:
    """Write trials.csv, and best.toml if there is a best trial."""
    write_csv(folder / TRIALS_FILE, *trials_rows(result))
    recipe = best_recipe(result)
    if recipe is not None:
        write_text(folder / BEST_FILE, recipe)


def best_recipe(result: SearchResult) -> str | None:
    """The text of best.toml; None without a best trial, or if the stored recipe is not a valid one."""
    head, body = _origin(result), best_body(result)
    return None if body is None else "\n".join([*map(comment, head), "", body])


def best_body(result: SearchResult) -> str | None:
    """The text of best.toml without the comments at its top."""
    best = result.best
    try:
        plain = tomllib.loads(result.recipe)
    except tomllib.TOMLDecodeError:
        return None
    if best is None or not {"schema", "name", "task"} <= plain.keys():
        return None
    optimizer = str(best.params.get("optimizer", ""))
    comments = {f"space.{found.name}": f"searched: {_searched(found, optimizer)}" for found in result.space}
    best_number = "the best number for this configuration"
    comments["search.fidelity"] = f"epochs: {best_number}; the learning rate's schedule covers them"
    comments["search.seed"] = "holds out the same validation split as the search"
    won = winner(result)
    params = dict(best.params)
    if won is not None and won.gradient_accumulation is not None:
        params["gradient_accumulation"] = won.gradient_accumulation
        comments["space.accumulation"] = "a batch did not fit in memory in one piece"
    return dump_plain(fixed_plain(plain, params, epochs=_num_epochs(result, plain)), comments=comments)


def _num_epochs(result: SearchResult, plain: Mapping[str, Any]) -> int:
    """Epochs to train: those of the final training, or up to the epoch of the best trial's value."""
    if result.final is not None:
        return result.final.epochs
    won, objective_options = winner(result), plain["task"].get("objective", {})
    reports = () if won is None else won.reports
    objective = Objective(metric=result.metric, mode=result.mode, reduce=objective_options.get("reduce", "best"))
    return best_epoch(objective, reports) or max(len(reports), 1)


def _origin(result: SearchResult) -> list[str]:
    best, typed = result.best, command(result.meta.argv)
    if best is None:
        return []
    value = f"{result.metric} {metric_text(result.metric, best.value)}"
    lines = [
        "The best trial of a search, as a recipe that trains it:",
        "",
        "    probe train best.toml",
        "",
        f"search:      {result.name}, {result.task}, started {result.meta.started_at}, seed {result.meta.seed}",
        *([] if typed is None else [f"command:     {typed}"]),
        *([] if result.meta.run_id is None else [f"run:         {result.meta.run_id}"]),
        f"found:       trial {best.number}, the best of {format_count(len(result.trials))}",
        f"validation:  {value}, optimistic because it is the best of several",
    ]
    test = result.test
    if test is not None:
        score = f"{test.metric} {metric_text(test.metric, test.value)}"
        notes = [score, interval_text(test.metric, test.low, test.high), baseline_text(test, result.mode)]
        texts = [*filter(None, notes), "after a final training on train + validation"]
        lines.append(f"test:        {', '.join(texts)}")
    return lines


def _searched(dimension: Dimension, optimizer: str) -> str:
    """What was searched; for a range that depends on the optimizer, that of the best trial."""
    if dimension.kind == "choices":
        return ", ".join(format_value(choice) for choice in dimension.choices)
    ends = (dimension.per or {}).get(optimizer)
    if ends is None:
        return span_text(dimension, dimension.low, dimension.high)
    return f"{span_text(dimension, ends[0], ends[-1])} for {optimizer}"
