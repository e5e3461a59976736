"""Commands whose drivers and workers are killed at random moments: is anything lost, is anything decided otherwise?

    python benchmarks/kill_storm.py [--kills 200] [--signals 200] [--only signals] [--markdown FILE]

Signals: search, train, lr and batch get KILL, TERM, HUP and INT after random numbers of rows or lines. All but KILL must leave
a whole report. The searches are resumed until they end, and must decide like one without a signal.
Scripted: jobs train nothing, checkpoints are files of 64 kB, the driver is forked, so that hundreds of kills take a minute.
Real: a deterministic search over the digits, whose driver and worker are killed in turn. Linux only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from command_storms import COMMANDS, SIGNALS, command_storm, search_storm, whole_search
from command_storms import Storm as SignalStorm
from stored_searches import stored_events, work_on
from storms import Storm, real_search, real_storm, same_decisions, scripted_storm

VICTIMS = "dwddw"
IMPORT_TURNS = 3


def scripted(num_kills: int) -> tuple[list[Storm], int]:
    """Storms with at least so many kills in all, and how many of them decided otherwise."""
    with tempfile.TemporaryDirectory() as name:
        work_on(Path(name))
        whole = stored_events(Path(name))
    storms: list[Storm] = []
    while sum(storm.num_driver_kills for storm in storms) < num_kills:
        with tempfile.TemporaryDirectory() as name:
            storms.append(scripted_storm(Path(name), num_kills=num_kills, seed=len(storms)))
    return storms, sum(not same_decisions(storm.events, whole) for storm in storms)


def real() -> tuple[Storm, int]:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        real_search(Path(one))
        storm = real_storm(Path(other), victims=VICTIMS, seed=0)
        return storm, int(not same_decisions(storm.events, stored_events(Path(one) / "run")))


def import_seconds() -> float:
    """Of torch, in a process of its own."""
    times = []
    for _ in range(IMPORT_TURNS):
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        times.append(time.monotonic() - started)
    return statistics.median(times)


def signals(num_kills: int) -> dict[str, SignalStorm]:
    """Two fifths of the kills over searches, the others over the commands that cannot be resumed."""
    import probe.lr.find
    import probe.single.train  # noqa: F401  # imports PyTorch once, for all forks

    storms: dict[str, SignalStorm] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for command in COMMANDS:
            storms[command] = command_storm(command, folder, num_kills=num_kills // 5, seed=0)
            print(signal_row(command, storms[command]), flush=True)
        (folder / "whole").mkdir()
        whole, total = whole_search(folder / "whole"), SignalStorm()
        while (left := num_kills - 3 * (num_kills // 5) - sum(total.num_kills.values())) > 0:
            place = folder / f"search-{left}"
            place.mkdir()
            total.add(search_storm(place, whole, num_kills=min(left, KILLS_OF_ONE_SEARCH), seed=left))
            print(signal_row("search", total), flush=True)
        storms["search"] = total
    return storms


KILLS_OF_ONE_SEARCH = 8
SIGNAL_HEAD = (
    "| command | to drivers: KILL | TERM | HUP | INT | to workers: KILL | TERM | HUP | INT | rows on disk before | rows lost "
    "| whole reports | of polite ends | other exit codes | processes left | searches in which one rung was killed twice "
    "| other searches that decided otherwise |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|"
)


def signal_row(command: str, storm: SignalStorm) -> str:
    kills = [storm.num_kills[f"{victim} {number.name}"] for victim in ("driver", "worker") for number in SIGNALS]
    codes = ", ".join(f"{count} x {code}" for code, count in Counter(storm.wrong_codes).items()) or "none"
    numbers = [*kills, storm.num_rows, storm.num_lost, storm.num_reports, storm.num_polite]
    cells = [
        command,
        *map(str, numbers),
        codes,
        str(storm.num_orphans),
        str(storm.num_killed_twice),
        str(storm.num_different),
    ]
    return f"| {' | '.join(cells)} |"


def row(name: str, storms: list[Storm], num_different: int) -> str:
    drivers, workers = (sum(getattr(storm, f"num_{who}_kills") for storm in storms) for who in ("driver", "worker"))
    return (
        f"| {name} | {len(storms)} | {drivers} | {workers} | {sum(storm.num_acknowledged for storm in storms)} | "
        f"{sum(storm.num_lost for storm in storms)} | {sum(storm.num_checkpoints for storm in storms)} | "
        f"{sum(storm.num_torn for storm in storms)} | {max(storm.most_repeated for storm in storms)} | {num_different} |"
    )


def sigkill_lines(num_kills: int) -> list[str]:
    storms, num_different = scripted(num_kills)
    print(row("scripted", storms, num_different), flush=True)
    storm, is_different = real()
    imports = import_seconds()
    restart = statistics.median(storm.restart_seconds)
    return [
        "| jobs | searches | driver kills | worker kills | rows acknowledged | rows lost | checkpoints looked at | torn "
        "| rungs repeated by one kill, at most | searches that decided otherwise |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        row("scripted", storms, num_different),
        row("real", [storm], is_different),
        "",
        f"A real search that goes on writes its first row {restart:.1f} s after its process started (median of "
        f"{len(storm.restart_seconds)}, {max(storm.restart_seconds):.1f} s at most); `import torch` alone, which only its "
        f"worker needs, took {imports:.1f} s then (load of the machine: {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores).",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="of scripted drivers, at least")
    parser.add_argument("--signals", type=int, default=200, help="to commands")
    parser.add_argument("--only", choices=("signals",), help="leave out the storms of SIGKILL over scripted jobs")
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    storms = signals(options.signals)
    lines = [SIGNAL_HEAD, *(signal_row(command, storm) for command, storm in storms.items())]
    if options.only is None:
        lines += ["", *sigkill_lines(options.kills)]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.markdown is not None:
        options.markdown.write_text("# Kill storm\n\n`python benchmarks/kill_storm.py`\n\n" + text)


if __name__ == "__main__":
    main()
