"""Draws cases with Hypothesis, runs them in a lab, and counts what became of them."""

from __future__ import annotations

import re
import time
import tomllib
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fuzz_case import Case, Ended
from fuzz_commands import command_lines
from fuzz_damage import damages
from fuzz_lab import Lab
from fuzz_recipes import recipes, search_case, space_case, trials_case
from fuzz_runs import KILLED, RUN_NAMES, SEARCH, USERS_FILES
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

ONE_IN_SEARCHED = 8
"""Of the recipes that `probe space` refuses, one in so many is given to `probe search`, too."""
ONE_IN_TRAINED = 200
"""Of the recipes that are accepted, one in so many is searched for two trials."""
COLUMNS = (0, 1, 2, 3, 4, 5, 6, 130)
FAULTS = ("bug", "traceback", "exit code", "hang", "memory", "touched", "control characters", "markup")


@dataclass
class Tally:
    """What became of the cases of one kind."""

    num_examples: int = 0
    seconds: float = 0.0
    codes: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """Broken rule -> number of cases."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Broken rule and its telling line, without names and numbers -> number of cases."""
    smallest: dict[str, tuple[Case, str]] = field(default_factory=dict)
    """The smallest case of each of `kinds`, and its telling line."""
    most_cpu_seconds: float = 0.0
    most_bytes: int = 0

    def count(self, case: Case, ended: Ended) -> None:
        self.codes[ended.code] += 1
        self.most_cpu_seconds = max(self.most_cpu_seconds, ended.cpu_seconds)
        self.most_bytes = max(self.most_bytes, ended.peak_bytes)
        for fault, line in ended.faults.items():
            kind = f"{fault}: {_without_names(line)}"
            self.faults[next(rule for rule in FAULTS if fault.startswith(rule))] += 1
            self.kinds[kind] += 1
            if kind not in self.smallest or case.size < self.smallest[kind][0].size:
                self.smallest[kind] = case, line

    def add(self, other: Tally) -> None:
        self.num_examples += other.num_examples
        self.seconds += other.seconds
        for own, others in ((self.codes, other.codes), (self.faults, other.faults), (self.kinds, other.kinds)):
            own.update(others)  # type: ignore[arg-type]  # counters of different keys
        for kind, found in other.smallest.items():
            if kind not in self.smallest or found[0].size < self.smallest[kind][0].size:
                self.smallest[kind] = found
        self.most_cpu_seconds = max(self.most_cpu_seconds, other.most_cpu_seconds)
        self.most_bytes = max(self.most_bytes, other.most_bytes)

    def text(self) -> str:
        """One entry for each kind of fault, the most frequent first."""
        return "\n".join(
            f"{count} x {kind.partition(':')[0]}: {self.smallest[kind][1]}\n    {self.smallest[kind][0].text[:3000]}"
            for kind, count in self.kinds.most_common()
        )


def table(tallies: dict[str, Tally]) -> list[str]:
    """Outcomes by kind as Markdown."""
    head = ("kind", "examples", "commands", *(f"exit {code}" for code in COLUMNS), *FAULTS, "most CPU", "most memory")
    lines = [f"| {' | '.join(head)} |", "|---|" + "--:|" * (len(head) - 1)]
    for name, tally in tallies.items():
        counts = [tally.num_examples, tally.codes.total(), *(tally.codes[code] for code in COLUMNS)]
        counts += [tally.faults[fault] for fault in FAULTS]
        most = f"{tally.most_cpu_seconds:.1f} s | {tally.most_bytes / 2**20:.0f} MiB"
        lines.append(f"| {name} | {' | '.join(f'{count:,}' for count in counts)} | {most} |")
    return lines


def fuzz(lab: Lab, kind: str, *, number: int, start: int) -> Tally:
    """Run so many examples of a kind; `start` is the seed of Hypothesis."""
    strategy, run = KINDS[kind]
    tally, started = Tally(), time.monotonic()

    @seed(start)
    @settings(
        max_examples=number,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(example: Any) -> None:
        tally.num_examples += 1
        run(lab, tally, example)

    each()
    tally.seconds = time.monotonic() - started
    return tally


def _run(lab: Lab, tally: Tally, case: Case) -> Ended:
    ended = lab.run(case)
    tally.count(case, ended)
    return ended


def _run_recipe(lab: Lab, tally: Tally, example: tuple[bytes, tuple[str, ...]]) -> None:
    shown, number = _run(lab, tally, space_case(*example)), zlib.crc32(example[0])
    if shown.code != 0 and number % ONE_IN_SEARCHED:
        return
    ended = _run(lab, tally, search_case(*example))
    if ended.code == 0 and not ended.faults and number % ONE_IN_TRAINED == 0 and _is_at_hand(example[0]):
        _run(lab, tally, trials_case(*example))


def _is_at_hand(recipe: bytes) -> bool:
    """Whether its data need no download."""
    task = tomllib.loads(recipe.decode())["task"]
    return bool(task.get("data") == "digits" or task.get("target") == "clitask:task")


@st.composite
def damaged_runs(draw: st.DrawFn) -> Case:
    """A command on a made run after one to three damages."""
    run, other = draw(st.sampled_from(("search", KILLED, *RUN_NAMES))), draw(st.sampled_from(RUN_NAMES))
    damage = tuple(draw(st.lists(damages, min_size=1, max_size=3)))
    leads_elsewhere = damage[0].how in ("checkpoints", "storage")
    if run in ("search", KILLED) and draw(st.integers(0, 39)) < (20 if leads_elsewhere else 1):
        args: tuple[str, ...] = (*SEARCH, "--resume", "--out", run)
    else:
        commands: tuple[tuple[str, ...], ...] = (
            ("report", run),
            ("report", run),
            ("compare", run, KILLED if run != KILLED else "search"),
            ("export", run, "--optuna", "sqlite:///x.db"),
            ("train", f"{run}/best.toml", "--epochs", "1"),
        )
        args = draw(st.sampled_from(commands[: 5 if run in ("search", "train") else 4]))
    needed = dict.fromkeys((run, *(name for name in args[1:] if name in RUN_NAMES), other))
    writes = {"report": (run,), "search": (run,), "export": ("x.db", "x.db-journal")}.get(args[0], ("reports",))
    logs = (
        f"{name}/search.sqlite-{end}" for name in needed for end in ("shm", "wal")
    )  # SQLite's own, also of a reader
    return Case(args=args, files=USERS_FILES, runs=tuple(needed), damage=damage, writes=(*writes, *logs))


KINDS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Lab, Tally, Any], object]]] = {
    "recipes": (recipes(), _run_recipe),
    "commands": (command_lines(), _run),
    "damage": (damaged_runs(), _run),
}
"""What is drawn, and how one example is run."""


def _without_names(line: str) -> str:
    """A telling line without what differs from case to case."""
    line = re.sub(r"'[^']*'|\"[^\"]*\"", "'..'", line)
    return re.sub(r"[-+]?\d[\d.e+-]*|(?:\.{0,2}/)[\w./-]+", "0", line)[:100]
