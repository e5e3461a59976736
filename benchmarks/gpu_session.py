"""One session on a real GPU, in stages, the most instructive first; made to be run once a GPU is there, in ten minutes.

    python benchmarks/gpu_session.py [--minutes 9] [--stages facts,edge] [--device cuda:0] [--out FOLDER] [--markdown FILE]

Each stage is a process with a limit: its share of the time that is left. If a stage fails or hangs, the end of its output is
recorded and the next one starts. FOLDER (by default $OUT, or ./gpu_session) gets two files: the record session.jsonl, after
every row, and the page session.md, after every stage. Run the script again to continue: complete stages are skipped, others go
on after their last row.

It needs a checkout and PyTorch for CUDA. A stage whose packages are missing is skipped, and they are named. `--small` tries the
script, also under the fake driver of tests/fake_cuda; the page then says which numbers mean nothing.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from gpu_session_page import page, status_of  # noqa: E402  # after sys.path
from gpu_session_stages import STAGES, Stage  # noqa: E402  # after sys.path
from gpu_session_stages.session import NO_DEVICE, OUT_OF_TIME, append_line, read_lines  # noqa: E402  # after sys.path

COMPLETE = "complete"
GRACE_SECONDS = 5
KEPT_BYTES = 3000
"""Size of the end of a stage's output that is kept."""


def run_stages(stages: Sequence[Stage], record: Path, options: argparse.Namespace) -> Iterator[str]:
    """Run the stages that are not complete, each within its share of the time that is left. Yields a line after each."""
    ends = time.monotonic() + 60 * options.minutes
    waiting = [stage for stage in stages if status_of(read_lines(record), stage).get("status") != COMPLETE]
    for number, stage in enumerate(waiting):
        seconds = (ends - time.monotonic()) * stage.share / sum(other.share for other in waiting[number:])
        missing = [package for package in stage.needs if find_spec(package) is None]
        if missing:
            ended: dict[str, Any] = {"status": f"skipped: {', '.join(missing)} not installed"}
        elif seconds < 1:
            ended = {"status": "skipped: no time left"}
        else:
            ended = run_process(stage.module, record, options, seconds)
        append_line(record, {"stage": stage.name, **ended})
        yield f"{stage.name}: {ended['status']}"


def run_process(module: str, record: Path, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Run one stage in a new process group. Returns its status, time and the end of its output."""
    command = [sys.executable, "-m", "gpu_session_stages.session", module, "--record", str(record.absolute())]
    command += ["--device", options.device, "--seconds", f"{seconds:.1f}", *(["--small"] if options.small else [])]
    path = os.pathsep.join([*sys.path[:2], *filter(None, [os.environ.get("PYTHONPATH")])])
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(seconds + GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            status = "stopped at its limit"
        else:
            known = {0: COMPLETE, OUT_OF_TIME: "out of time", NO_DEVICE: "no GPU"}
            status = known.get(process.returncode, f"failed with exit code {process.returncode}")
        finally:
            stop(process)
        output.seek(max(0, output.seek(0, os.SEEK_END) - KEPT_BYTES))
        text = output.read().decode(errors="replace")
    return {"status": status, "seconds": time.monotonic() - began, "output": text}


def stop(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
            break


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--stages", help=f"some of {', '.join(stage.name for stage in STAGES)}, separated by commas")
    parser.add_argument(
        "--out", type=Path, default=Path(os.environ.get("OUT") or "gpu_session"), help="folder of the results"
    )
    parser.add_argument("--markdown", type=Path, help="also write the page to this file")
    parser.add_argument("--small", action="store_true", help="small sizes, to try the script")
    options = parser.parse_args()
    known = [stage.name for stage in STAGES]
    asked = known if options.stages is None else options.stages.split(",")
    unknown = [name for name in asked if name not in known]
    if unknown:
        parser.error(f"There is no stage {', '.join(unknown)}. Stages: {', '.join(known)}.")
    options.stages = [stage for stage in STAGES if stage.name in asked]
    return options


def main() -> int:
    options = parse_options()
    options.out.mkdir(parents=True, exist_ok=True)
    record = options.out / "session.jsonl"
    machine = run_process("machine", record, options, 120)
    if machine["status"] != COMPLETE:
        print(machine["output"].strip(), file=sys.stderr)
        return NO_DEVICE
    pages = [options.out / "session.md", *([options.markdown] if options.markdown else [])]
    for news in run_stages(options.stages, record, options):
        print(news, flush=True)
        for path in pages:
            path.write_text(page(read_lines(record), STAGES), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
