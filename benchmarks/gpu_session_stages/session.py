"""What a stage is given: the device, the time that is left and the record, a file of JSON lines. Started by gpu_session.py:

python -m gpu_session_stages.session MODULE --record FILE --device cuda --seconds 60 [--small]
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NO_DEVICE, OUT_OF_TIME = 4, 75
"""Exit codes: there is no such GPU; cases are missing for want of time."""


@dataclass(kw_only=True)
class Session:
    """One stage. Lines of its record: `{"stage", "table", "row": {column: value}}` and `{"stage", "note"}`."""

    stage: str
    record: Path
    device: str
    seconds: float
    small: bool = False
    """Sizes for a dry run."""
    started: float = field(default_factory=time.monotonic)
    slowest: float = 0.0
    """Time of the slowest case so far."""
    out_of_time: bool = False
    """Whether cases are missing."""

    @property
    def seconds_left(self) -> float:
        return self.seconds - (time.monotonic() - self.started)

    def add(self, table: str, **row: Any) -> None:
        """Append a row. Columns that end in _bytes, _seconds or _fraction are shown in that unit."""
        self.append({"table": table, "row": row})

    def note(self, text: str) -> None:
        """Append a sentence below the tables."""
        self.append({"note": text})

    def append(self, line: Mapping[str, Any]) -> None:
        append_line(self.record, {"stage": self.stage, **line})
        print(json.dumps(line), flush=True)

    def measure(self, table: str, cases: Iterable[Mapping[str, Any]], row_of: Callable[..., Mapping[str, Any]]) -> None:
        """Add a row for each case (`row_of(**case)`) that has none yet, until one as slow as the slowest would not end in time;
        the missing ones are noted. A case that fails has its error in the column `problem`."""
        done = [line["row"] for line in rows_of(read_lines(self.record), self.stage) if line["table"] == table]
        missing = [dict(case) for case in cases if not any(case.items() <= row.items() for row in done)]
        for number, case in enumerate(missing):
            if self.seconds_left < self.slowest:
                titles = "; ".join(" ".join(map(str, left.values())) for left in missing[number:])
                self.note(f"Not measured for want of time: {titles}.")
                self.out_of_time = True
                return
            began = time.monotonic()
            try:
                row = row_of(**case)
            except Exception as error:
                row = {"problem": f"{type(error).__name__}: {first_line(error)}"}
            self.add(table, **case, **row)
            self.slowest = max(self.slowest, time.monotonic() - began)

    def in_new_process(self, function: Callable[..., Any], *args: Any, seconds: float = 90) -> Any:
        """`function(*args)` in a process of its own, with arguments and result as JSON. Raises RuntimeError with the end of its
        output if it fails or takes too long."""
        code = (
            f"import json, sys; from {function.__module__} import {function.__name__} as call; "
            "from gpu_session_stages.session import end_process; "
            "print(json.dumps(call(*json.loads(sys.argv[1])))); end_process(0)"
        )
        command = [sys.executable, "-c", code, json.dumps(args)]
        limit = max(1.0, min(seconds, self.seconds_left))
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"no answer within {limit:.0f} s") from None
        if done.returncode != 0:
            raise RuntimeError(f"exit code {done.returncode}: {done.stderr.strip()[-300:]}")
        return json.loads(done.stdout.splitlines()[-1])


def first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "")[:1000]


def append_line(record: Path, line: Mapping[str, Any]) -> None:
    with record.open("a+b") as file:
        file.seek(max(0, file.tell() - 1))
        broken = file.read(1) not in (b"", b"\n")  # the last line of a run that was cut off
        file.write((b"\n" if broken else b"") + json.dumps(line, default=str).encode() + b"\n")


def read_lines(record: Path) -> list[dict[str, Any]]:
    """The lines of a record, whose last one may be incomplete if the machine was taken away."""
    lines = []
    for text in record.read_text(encoding="utf-8").splitlines() if record.exists() else ():
        with suppress(ValueError):
            lines.append(json.loads(text))
    return lines


def end_process(code: int) -> None:
    """Exit without the interpreter's end, where a thread of autograd that still holds Python objects aborts the process."""
    sys.stdout.flush()
    os._exit(code)


def rows_of(lines: Iterable[Mapping[str, Any]], stage: str) -> list[Mapping[str, Any]]:
    """The lines of a stage that are rows of its tables."""
    return [line for line in lines if line.get("stage") == stage and "row" in line]


def is_fake() -> bool:
    """Whether CUDA is the fake driver of tests/fake_cuda, whose kernels compute nothing."""
    return hasattr(ctypes.CDLL(None), "fake_num_launches")


def describe_machine(device: str) -> dict[str, Any]:
    """The GPU and the software, without a context. Raises SystemExit if there is no such GPU."""
    import torch

    from probe.device.nvml import driver_version
    from probe.version import VERSION

    index = torch.device(device).index or 0
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if torch.device(device).type != "cuda" or index >= count:
        print(f"There is no {device} here: PyTorch {torch.__version__} finds {count} CUDA devices.", file=sys.stderr)
        raise SystemExit(NO_DEVICE)
    gpu = torch.cuda.get_device_properties(index)
    return {
        "gpu": gpu.name,
        "compute_capability": f"{gpu.major}.{gpu.minor}",
        "total_bytes": gpu.total_memory,
        "driver": driver_version() or "unknown",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]  # not annotated by torch
        "architectures": " ".join(torch.cuda.get_arch_list()),
        "python": platform.python_version(),
        "system": platform.platform(),
        "probe": VERSION,
        "is_fake": is_fake(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("module", help="module with a function `run(session)`; `machine` only describes the machine")
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    if options.module == "machine":
        append_line(options.record, {"machine": describe_machine(options.device)})
        return
    settings = vars(options)
    module = settings.pop("module")
    session = Session(stage=module.rpartition(".")[-1], **settings)
    importlib.import_module(module).run(session)
    end_process(OUT_OF_TIME if session.out_of_time else 0)


if __name__ == "__main__":
    main()
