"""Markdown tables of the measurements of searches on Ray."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from ray_costs import NUM_SLOTS, Cost
from ray_storms import DriverKill, NodeKill

HEADINGS = ("The driver's part", "A node is killed", "A node no longer answers", "The driver is killed, and resumed")
MOST_OVERHEAD_MS, MOST_IDLE, MOST_NOTICE_SECONDS = 20.0, 0.05, 5.0
"""The limits that the measurements are compared with."""


def cost_tables(found: Sequence[Cost]) -> list[str]:
    """Tables of the overhead and of the idle fraction of the slots, for both executors."""
    overheads = [(cost.executor, cost.study) for cost in found if cost.sleep_seconds is None]
    idles = [(cost.executor, cost.sleep_seconds, cost.study) for cost in found if cost.sleep_seconds is not None]
    lines = [f"## {HEADINGS[0]}", "", f"Two workers; {_machine()}.", ""]
    if overheads:
        lines += [
            "| executor | rungs | study | time of a rung | overhead per rung | idle time of a slot between two rungs "
            "| driver's processor time per rung |",
            "|---|--:|--:|--:|--:|--:|--:|",
        ]
        lines += [
            f"| {name} | {study.num_rungs:,} | {study.seconds:.1f} s | "
            f"{1000 * study.rung_seconds / study.num_rungs:.2f} ms | {study.overhead_ms:.1f} ms | "
            f"{NUM_SLOTS * study.overhead_ms:.1f} ms | {1000 * study.driver_seconds / study.num_rungs:.1f} ms |"
            for name, study in overheads
        ]
        lines.append("")
    if idles:
        lines += [
            "| executor | sleep of a rung | rungs | study | idle fraction of the slots |",
            "|---|--:|--:|--:|--:|",
        ]
        lines += [
            f"| {name} | {seconds:.0f} s | {study.num_rungs} | {study.seconds:.1f} s | {100 * study.idle_share:.1f} % |"
            for name, seconds, study in idles
        ]
        lines.append("")
    for name, study in overheads:
        found_text = f"overhead {study.overhead_ms:.1f} ms per rung"
        lines += _verdict(name, found_text, f"{MOST_OVERHEAD_MS:.0f} ms", study.overhead_ms < MOST_OVERHEAD_MS)
    for name, seconds, study in idles:
        found_text = f"idle {100 * study.idle_share:.1f} % at {seconds:.0f} s"
        lines += _verdict(name, found_text, f"{100 * MOST_IDLE:.0f} %", study.idle_share < MOST_IDLE)
    return [*lines, ""]


def node_table(found: Sequence[NodeKill]) -> list[str]:
    notices = [kill.notice_seconds for kill in found if kill.notice_seconds is not None]
    agains = [kill.again_seconds for kill in found if kill.again_seconds is not None]
    histories = [kill.history for kill in found]
    unfinished, finished_again = (
        sum(getattr(history, name) for history in histories) for name in ("num_unfinished", "num_finished_again")
    )
    lines = [
        f"## {HEADINGS[1]}",
        "",
        f"Two nodes of one core; {_machine()}.",
        "",
        "| searches | trials | not finished | kills of a node with a job | rungs lost, largest number and sum "
        "| finished rungs repeated "
        "| jobs sent to the dead node | loss noticed after | rung started elsewhere after |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        f"| {len(found)} | {sum(history.num_trials for history in histories)} | {unfinished} | "
        f"{sum(kill.had_job for kill in found)} | {max(history.num_crashes for history in histories)}, "
        f"{sum(history.num_crashes for history in histories)} | {finished_again} | "
        f"{sum(kill.on_dead_node for kill in found)} | {_spread(notices)} | {_spread(agains)} |",
        "",
        *_verdict("every trial finishes", f"{unfinished} unfinished", "0", unfinished == 0),
        *_verdict("no finished rung is repeated", f"{finished_again} repeated", "0", finished_again == 0),
        *_verdict(
            "the loss is noticed",
            f"after {max(notices, default=0.0):.2f} s at most",
            "5 s",
            max(notices, default=0.0) < MOST_NOTICE_SECONDS,
        ),
        "",
    ]
    return lines


def frozen_table(found: Mapping[str, NodeKill]) -> list[str]:
    rows = [
        f"| {label} | {'no job ran there' if kill.notice_seconds is None else f'{kill.notice_seconds:.1f} s'} "
        f"| {kill.history.num_trials} | {kill.history.num_unfinished} | {kill.history.num_crashes} "
        f"| {kill.history.num_finished_again} |"
        for label, kill in found.items()
    ]
    return [
        f"## {HEADINGS[2]}",
        "",
        "Raylet and workers are stopped (SIGSTOP), as if the network cable were cut: no connection is closed, and the head",
        "declares the node dead only after it has missed Ray's health checks.",
        "",
        "| health checks, from the environment of the head | loss noticed after | trials | not finished | rungs lost "
        "| finished rungs repeated |",
        "|---|--:|--:|--:|--:|--:|",
        *rows,
        "",
    ]


def driver_table(found: Sequence[DriverKill]) -> list[str]:
    histories = [kill.history for kill in found]
    lost = sum(kill.num_lost for kill in found)
    strays = sum(history.num_strays + history.num_finished_again for history in histories)
    unfinished = sum(history.num_unfinished for history in histories)
    compared = [kill.differs for kill in found if kill.differs is not None]
    lines = [
        f"## {HEADINGS[3]}",
        "",
        f"Two nodes of one core, deterministic searches on one of them; {_machine()}.",
        "",
        "| searches | trials | not finished | rows acknowledged | rows lost | rows repeated or of no running job "
        "| rungs rolled back, largest number | deterministic searches, with other decisions | dead driver's jobs ended after "
        "| first row of the next driver after |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        f"| {len(found)} | {sum(history.num_trials for history in histories)} | {unfinished} | "
        f"{sum(kill.num_acknowledged for kill in found)} | {lost} | {strays} | "
        f"{max(history.num_rolled_back for history in histories)} | {len(compared)}, {sum(compared)} | "
        f"{_spread([kill.orphan_seconds for kill in found])} | {_spread([kill.restart_seconds for kill in found])} |",
        "",
        *_verdict("nothing acknowledged is lost", f"{lost} rows", "0", lost == 0),
        *_verdict(
            "no event is repeated, every trial finishes", f"{strays} and {unfinished}", "0", strays == unfinished == 0
        ),
        *_verdict(
            "deterministic searches make the same decisions",
            f"{sum(compared)} of {len(compared)} differ",
            "0",
            not any(compared),
        ),
        "",
    ]
    return lines


def write_section(path: Path, preface: str, section: str) -> None:
    """Write a section to the file of the tables, replacing the section with the same heading."""
    known = path.read_text().split("\n## ")[1:] if path.exists() else []
    sections = {text.partition("\n")[0]: text.strip() for text in [*known, section.removeprefix("## ")]}
    kept = [f"## {sections[heading]}\n" for heading in HEADINGS if heading in sections]
    path.write_text("\n".join([preface, *kept]))


def _verdict(what: str, found: str, promised: str, holds: bool) -> list[str]:
    return [f"- {what}: {found} (limit: {promised}): {'holds' if holds else '**does not hold**'}."]


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} s (median), {max(seconds):.2f} s at most" if seconds else "-"


def _machine() -> str:
    load = os.getloadavg()[0]
    return f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} at the end"
