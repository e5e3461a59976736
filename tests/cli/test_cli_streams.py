"""Runs outlive the pipe, the disk or the terminal that they print to: their files are whole."""

from __future__ import annotations

import errno
import io
import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from cli_tools import Searches, environment, fill

from probe.cli.streams import ForgivingStream, duplicate_stream, forget_error, is_unwanted, output_error
from probe.report.store import load_result

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /dev/full and /bin/sh")

LR = ["lr", "--task", "clitask:task", "--steps", "50"]
RUNS = {
    "lr": LR,
    "batch": ["batch", "--task", "clitask:task", "--device", "simulated:1GiB", "--confirm-steps", "1"],
    "search": ["search", "blobs.toml", "--trials", "1", "--workers", "1"],
    "train": ["train", "best.toml", "--epochs", "2"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path)
    recipe = (tmp_path / "blobs.toml").read_text(encoding="utf-8")
    searched = "lr = { low = 1e-3, high = 1.0, log = true }\nwidth = { choices = [4, 8] }"
    assert searched in recipe
    (tmp_path / "best.toml").write_text(recipe.replace(searched, "lr = 0.1\nwidth = 4"), encoding="utf-8")
    return tmp_path


def shell(args: Sequence[str], redirection: str, folder: Path) -> tuple[list[int], str, str]:
    """Run `probe` in a shell. Returns the exit codes of its pipe, and what came to stdout and stderr."""
    command = (
        f'"{sys.executable}" -W error -m probe {" ".join(args)} {redirection}; echo "codes ${{PIPESTATUS[*]}}" >&7'
    )
    reading, writing = os.pipe()
    done = subprocess.run(
        ["/bin/bash", "-c", command.replace(">&7", f">&{writing}")],
        cwd=folder,
        env=environment(),
        pass_fds=[writing],
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(writing)
    with open(reading, encoding="ascii") as codes:
        return [int(code) for code in codes.read().split()[1:]], done.stdout, done.stderr


def check_whole(run: Path) -> None:
    assert load_result(run).stopped_by in ("finished", "trials", "space")
    assert (run / "report.md").read_text(encoding="utf-8").startswith("# ")
    assert not list(run.glob(".*.tmp"))


@pytest.mark.parametrize("kind", RUNS)
def test_reader_that_leaves_takes_nothing_with_it(kind: str, folder: Path) -> None:
    """Neither progress nor answer can be printed after the first line."""
    codes, out, _ = shell([*RUNS[kind], "--out", "run"], "2>&1 | head -1", folder)
    assert codes == [0, 0]
    assert len(out.splitlines()) == 1
    check_whole(folder / "run")


@pytest.mark.parametrize("redirection", [">/dev/full", "2>/dev/full", "<&- >&- 2>&-"])
def test_output_that_cannot_be_written_is_no_error_of_the_run(redirection: str, folder: Path) -> None:
    codes, out, err = shell([*LR, "--out", "run"], redirection, folder)
    assert codes == [0], err
    check_whole(folder / "run")
    assert out.startswith("Answer") == redirection.startswith("2>")
    assert ("No space left on device. The answer is in run." in err) == (redirection == ">/dev/full")


def test_terminal_that_is_closed_during_the_run(folder: Path) -> None:
    master, slave = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "probe", *LR, "--steps", "500", "--out", "run"],
        cwd=folder,
        env=environment(TERM="xterm"),
        stdout=slave,
        stderr=slave,
        stdin=slave,
    )
    os.close(slave)
    shown = b""
    while b"range test" not in shown:  # the live view
        shown += os.read(master, 1000)
    os.close(master)
    assert running.wait(60) == 0
    check_whole(folder / "run")


def test_json_that_cannot_be_written_to_stdout_is_an_error(folder: Path) -> None:
    codes, _, err = shell([*LR, "--out", "run", "--json", "-"], "| true", folder)
    assert codes[0] == 6
    assert "run/result.json" in err
    assert "Traceback" not in err
    check_whole(folder / "run")


def test_json_to_a_closed_stdout_is_refused_before_the_measurement(folder: Path) -> None:
    codes, _, err = shell([*LR, "--out", "run", "--json", "-"], ">&-", folder)
    assert codes == [6]
    assert "standard output is closed" in err
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    ("args", "code_if_full"),
    [(["report", "random0"], 0), (["compare", "random0", "grid0"], 0), (["space", "blobs.toml"], 6), (["--help"], 6)],
    ids=lambda part: part[0] if isinstance(part, list) else None,
)
def test_commands_that_measure_nothing(args: list[str], code_if_full: int, searches: Searches, tmp_path: Path) -> None:
    """What a command writes to files succeeds; what it only prints is lost on a full disk, unless its reader wants no more."""
    for name in ("random0", "grid0", "blobs.toml", "clitask.py"):
        os.symlink(searches.folder / name, tmp_path / name)
    codes, _, err = shell(args, "| true", tmp_path)
    assert codes[0] == 0, err
    codes, _, err = shell(args, ">/dev/full", tmp_path)
    assert codes == [code_if_full]
    assert "No space left on device" in err
    codes, _, err = shell(args, ">&-", tmp_path)
    assert codes == [0], err
    if args[0] == "compare":
        assert len(list(tmp_path.glob("reports/compare-*/comparison.md"))) == 3


def test_closed_stdout_is_not_taken_by_a_file(tmp_path: Path) -> None:
    """What a library prints to descriptor 1 would be written into that file."""
    code = (
        "import os; from probe.cli.streams import protect_streams; protect_streams();"
        "file = open('data', 'wb'); os.write(1, b'printed'); print('also printed'); assert file.fileno() > 2"
    )
    command = ["/bin/sh", "-c", f'exec "{sys.executable}" -c "{code}" >&- 2>&-']
    subprocess.run(command, cwd=tmp_path, env=environment(), check=True)
    assert (tmp_path / "data").read_bytes() == b""


def test_stream_drops_what_it_cannot_write() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        stream = ForgivingStream(full, encoding="ascii", line_buffering=True)
        print("first µ", file=stream)
        error = output_error(stream)
        assert error is not None
        assert error.errno == errno.ENOSPC
        assert not is_unwanted(error)
        assert forget_error(stream) is error
        assert output_error(stream) is None
    print("the file is closed", file=stream)
    error = output_error(stream)
    assert error is not None
    assert is_unwanted(error)


def test_stream_is_not_closed_by_code_of_a_task(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb", buffering=0) as file:
        stream = ForgivingStream(file, encoding="utf-8")
        print("µ", file=stream)
        stream.close()
        print("more", file=stream)
        other = duplicate_stream(stream)
        stream.flush()
        print("other", file=other, flush=True)
    assert (tmp_path / "out").read_text(encoding="utf-8") == "µ\nmore\nother\n"


def test_stream_waits_for_a_pipe_that_does_not_block() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    reader = subprocess.Popen(["/bin/sh", "-c", "sleep 0.2; wc -c"], stdin=reading, stdout=subprocess.PIPE)
    os.close(reading)
    with io.FileIO(writing, "w") as pipe:
        stream = ForgivingStream(pipe, encoding="ascii")
        stream.write("x" * 1_000_000)
        assert output_error(stream) is None
    assert reader.communicate()[0].strip() == b"1000000"
