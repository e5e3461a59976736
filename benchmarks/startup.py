"""How long `probe --help` takes beside `python -c "import click"`, and that `import probe` loads no torch.

    python benchmarks/startup.py [--markdown FILE]

Each command runs in turns with its peer; times are medians, ratios are medians of the ratios within a turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

TURNS = 7
PEER = [sys.executable, "-c", "import click"]
COMMANDS = ("", "batch", "lr", "search", "report", "devices")


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "80"})
    return time.perf_counter() - started


def loads_torch() -> bool:
    program = "import sys, probe; print('torch' in sys.modules)"
    return (
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout == "True\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    lines = [
        f"Python {sys.version.split()[0]}, {TURNS} turns; `import probe` loads torch: {'yes' if loads_torch() else 'no'}",
        "",
        '| command | seconds | / `python -c "import click"` |',
        "|---|--:|--:|",
    ]
    for name in COMMANDS:
        command = [sys.executable, "-m", "probe", *([name] if name else []), "--help"]
        turns = [(seconds(command), seconds(PEER)) for _ in range(TURNS)]
        median = statistics.median(own for own, _ in turns)
        ratio = statistics.median(own / peer for own, peer in turns)
        lines.append(f"| `probe {name + ' ' if name else ''}--help` | {median:.3f} | {ratio:.2f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if options.markdown is not None:
        options.markdown.write_text("# Start-up\n\n`python benchmarks/startup.py`\n\n" + text)


if __name__ == "__main__":
    main()
