"""The record of gpu_session.py as a page. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpu_session_stages import Stage
from gpu_session_stages.session import rows_of

from probe.units import format_bytes, format_percent, format_seconds


def page(lines: Sequence[Mapping[str, Any]], stages: Sequence[Stage]) -> str:
    """The record as Markdown. Pure."""
    machine: Mapping[str, Any] = next((line["machine"] for line in reversed(lines) if "machine" in line), {})
    fake = bool(machine.get("is_fake"))
    text = [f"# A session on {machine.get('gpu', 'a GPU')}", "", "`python benchmarks/gpu_session.py`", ""]
    if fake:
        text += [
            "**Dry run under the fake driver of tests/fake_cuda**: memory is counted, kernels compute nothing.",
            "",
        ]
    text += [*table([{"": column(name)[0], "value": cell(name, value)} for name, value in machine.items()]), ""]
    ends = {stage.name: status_of(lines, stage) for stage in stages}
    text += table(
        [
            {
                "stage": stage.title,
                "result": ends[stage.name].get("status", "not run"),
                "time_seconds": ends[stage.name].get("seconds"),
            }
            for stage in stages
        ]
    )
    for stage in stages:
        if ends[stage.name]:
            text += ["", f"## {stage.title}", "", *section(lines, stage, ends[stage.name], fake=fake)]
    return "\n".join(text).rstrip() + "\n"


def section(lines: Sequence[Mapping[str, Any]], stage: Stage, end: Mapping[str, Any], *, fake: bool) -> Iterator[str]:
    if fake and stage.fake_numbers is not None:
        yield f"*Not meaningful under the fake driver: {stage.fake_numbers}.*"
        yield ""
    rows = rows_of(lines, stage.name)
    for title in dict.fromkeys(line["table"] for line in rows):
        yield from [f"### {title}", "", *table([line["row"] for line in rows if line["table"] == title]), ""]
    yield from (f"{note}\n" for note in notes(lines, stage))
    if end["status"] != "complete":
        yield f"{end['status'].capitalize()}."
        if end.get("output"):
            yield from ["", "```text", end["output"].strip(), "```"]


def notes(lines: Sequence[Mapping[str, Any]], stage: Stage) -> list[str]:
    """Notes of the last run of a stage."""
    own = [line for line in lines if line.get("stage") == stage.name]
    ends = [number for number, line in enumerate(own) if "status" in line]
    return [line["note"] for line in own[ends[-2] if len(ends) > 1 else 0 :] if "note" in line]


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [
        name
        for name in dict.fromkeys(name for row in rows for name in row)
        if any(row.get(name) is not None for row in rows)
    ]
    head = [f"| {' | '.join(column(name)[0] for name in names)} |", f"|{'|'.join('---' for _ in names)}|"]
    return head + [f"| {' | '.join(cell(name, row.get(name)) for name in names)} |" for row in rows]


UNITS = {
    "_bytes": format_bytes,
    "_seconds": format_seconds,
    "_fraction": lambda value: format_percent(value, decimals=1),
}


def column(name: str) -> tuple[str, Any]:
    """The title of a column and the format of its values. The end of a name is its unit."""
    unit = next((end for end in UNITS if name.endswith(end)), "")
    return name.removesuffix(unit).replace("_", " "), UNITS.get(unit)


def cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    shown = column(name)[1]
    if shown is not None:
        return ("-" if value < 0 else "") + str(shown(abs(value)))
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")


def status_of(lines: Sequence[Mapping[str, Any]], stage: Stage) -> Mapping[str, Any]:
    """The line of the last time that a stage ended."""
    return next((line for line in reversed(lines) if line.get("stage") == stage.name and "status" in line), {})
