"""Mutated recipes, command lines and damaged runs in large numbers: does probe answer each with a sentence and an exit code?

    python benchmarks/fuzz.py [--recipes 10000] [--commands 2000] [--damage 3000] [--jobs 2] [--markdown FILE] [--keep FOLDER]

The cases and the rules are those of tests/fuzz. With --keep, the smallest case of each kind of fault is written to a folder,
with its command line in command.txt. Linux only.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "fuzz"))

from fuzz_lab import Lab
from fuzz_tally import KINDS, Tally, fuzz, table

NUMBERS = {"recipes": 10_000, "commands": 2_000, "damage": 3_000}


def share(kind: str, number: int, start: int) -> tuple[str, Tally]:
    with tempfile.TemporaryDirectory() as folder, Lab(Path(folder)) as lab:
        return kind, fuzz(lab, kind, number=number, start=start)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for kind, number in NUMBERS.items():
        parser.add_argument(f"--{kind}", type=int, default=number)
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=int, default=500, help="examples of one process")
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    parser.add_argument("--keep", type=Path, help="folder for the smallest case of each kind of fault")
    options = parser.parse_args()
    tallies = {kind: Tally() for kind in KINDS}
    shares = [
        (kind, min(options.share, number - first), options.seed + first)
        for kind in KINDS
        for number in [getattr(options, kind)]
        for first in range(0, number, options.share)
    ]
    started = time.monotonic()
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(share, *one) for one in shares]):
            kind, tally = done.result()
            tallies[kind].add(tally)
            print(f"{kind}: {tallies[kind].num_examples} examples, {tallies[kind].kinds.total()} faults", flush=True)
    lines = [
        *table(tallies),
        "",
        f"{(time.monotonic() - started) / 60:.0f} minutes with {options.jobs} processes, seed {options.seed}.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    for kind, tally in tallies.items():
        print(f"== {kind}\n{tally.text()}\n")
    if options.markdown is not None:
        options.markdown.write_text(f"# Fuzzing\n\n`python benchmarks/fuzz.py`\n\n{text}")
    if options.keep is not None:
        keep(tallies, options.keep)


def keep(tallies: dict[str, Tally], folder: Path) -> None:
    with tempfile.TemporaryDirectory() as name, Lab(Path(name)) as lab:
        for kind, tally in tallies.items():
            for number, (case, line) in enumerate(tally.smallest.values()):
                place = folder / f"{kind}-{number}"
                lab.keep(case, place)
                (place / "fault.txt").write_text(f"{line}\n", encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    main()
