"""Recipes, command lines and folders that nobody meant: probe answers each with a sentence and an exit code.

The same cases in larger numbers: benchmarks/fuzz.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_case import MOST_CPU_SECONDS, Case
from fuzz_lab import Lab
from fuzz_tally import fuzz

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and looks at /proc")

NUMBERS = {"recipes": 300, "commands": 25, "damage": 30}


@pytest.mark.parametrize("kind", NUMBERS)
def test_nothing_breaks(kind: str, tmp_path: Path) -> None:
    with Lab(tmp_path) as lab:
        tally = fuzz(lab, kind, number=NUMBERS[kind], start=0)
    assert tally.num_examples == NUMBERS[kind]
    assert not tally.kinds, tally.text()


MISDEEDS = {
    "touched": "open('../neighbour/notes.txt', 'w').close()",
    "hang": "while True: pass",
    "memory": "content = bytearray(1_200_000_000)",
    "control characters in output": "print('\\x1b[31mred')",
    "bug": "print('This is a bug in probe')",
    "exit code": "import os; os._exit(9)",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.mark.parametrize("fault", MISDEEDS)
def test_a_misdeed_is_found(fault: str, lab: Lab) -> None:
    case = Case(
        args=("lr", "--task", "misdeed:task"),
        files={"misdeed.py": MISDEEDS[fault].encode()},
        writes=("reports",),
        cpu_seconds=60.0 if fault == "memory" else MOST_CPU_SECONDS,  # some machines need seconds for a gigabyte
    )
    assert fault in lab.run(case).faults
