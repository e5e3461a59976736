"""A command line with the files that it finds, what became of it, and the rules by which that is judged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from fuzz_damage import Damage

EXIT_CODES = {0, 1, 2, 3, 4, 5, 6, 130}
MOST_CPU_SECONDS = 2.0
MOST_WALL_SECONDS = 120.0
"""For a command that waits, on a busy machine."""
MOST_BYTES = 2**30
"""Growth of the resident memory."""
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")
_PAGES = ("report.md", "report.html")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One command line."""

    args: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Files of the working folder."""
    runs: tuple[str, ...] = ()
    """Made runs that are copied into the working folder, under their names."""
    damage: tuple[Damage, ...] = ()
    """What is done to the first of the runs."""
    writes: tuple[str, ...] = ()
    """Files and folders of the working folder that the command may create, change and remove."""
    before_first_trial: bool = False
    """Whether a search is stopped before its first trial; 20 configurations are drawn in its place."""
    interrupt: bool = False
    """Whether the command gets Ctrl-C after a second of CPU time or ten of waiting."""
    cpu_seconds: float = MOST_CPU_SECONDS
    """CPU time beyond what the same command needs without damage."""

    @property
    def text(self) -> str:
        damage = "; ".join(str(one) for one in self.damage)
        recipe = self.files.get("recipe.toml")
        return "".join(
            (
                f"probe {' '.join(map(repr, self.args))}",
                f"  # after {damage}" if damage else "",
                f"  # {recipe[:2000]!r}" if recipe is not None else "",
            )
        )

    @property
    def size(self) -> int:
        return sum(map(len, self.args)) + sum(map(len, self.files.values())) + 10_000 * len(self.damage)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    """Exit code; negative for a signal."""
    output: str
    cpu_seconds: float
    peak_bytes: int
    """Growth of the resident memory, at most."""
    killed: str | None = None
    """Why it was killed: `hang` or `memory`."""
    touched: tuple[str, ...] = ()
    pages: str = ""
    """The pages that it wrote."""

    @property
    def faults(self) -> dict[str, str]:
        """Broken rule -> the telling line."""
        found = {}
        if self.killed is not None:
            frames = [line.strip() for line in self.output.splitlines() if line.startswith("  File ")]
            found[self.killed] = (
                f"{self.cpu_seconds:.1f} s CPU, {self.peak_bytes / 2**20:.0f} MiB; in {'; '.join(frames[:2])}"
            )
        elif self.code not in EXIT_CODES:
            found["exit code"] = f"{self.code}: {self.output.strip().rpartition(chr(10))[2][:200]}"
        for line in self.output.splitlines():
            if "This is a bug in probe" in line:
                found["bug"] = line[:300]
        if self.killed is None and (raised := _raised_in_probe(self.output)) is not None:
            found["traceback"] = raised
        for what, text in (("output", self.output), ("page", self.pages)):
            if self.killed is None and (match := _CONTROL.search(text)) is not None:
                found[f"control characters in {what}"] = repr(text[max(0, match.start() - 60) : match.end() + 10])
        if "<script" in self.pages:
            found["markup in page"] = repr(self.pages[max(0, self.pages.index("<script") - 60) :][:80])
        if self.touched:
            found["touched"] = ", ".join(self.touched[:4])
        return found


def _raised_in_probe(text: str) -> str | None:
    """The end of a traceback whose last frame is probe's own. --debug prints those of probe's errors as well."""
    _, heading, rest = text.rpartition("Traceback (most recent call last)")
    lines = rest.splitlines()
    raised = next((line for line in lines[1:] if line and not line.startswith(" ")), "")
    frames = [line.strip() for line in lines if line.startswith("  File ")]
    if not heading or not frames or "/probe/" not in frames[-1] or raised.startswith("probe.errors."):
        return None
    return f"{raised[:200]}; in {frames[-1]}"
