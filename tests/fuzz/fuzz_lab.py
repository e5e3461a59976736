"""Runs cases in forks of one process that has imported everything, and judges them. Linux only.

The process lives in a sandbox: `HOME`, `TMPDIR` and the working folder of the cases are in it. The limits count CPU time, since
machines are busy.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import select
import shutil
import signal
import sys
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import fuzz_runs
import psutil
from fuzz_case import MOST_BYTES, MOST_WALL_SECONDS, Case, Ended
from fuzz_damage import apply
from fuzz_sandbox import Audit, Sandbox

STATE = Path("home/.state")
"""Where probe may remember the runs of a user."""
INTERRUPT_CPU_SECONDS, INTERRUPT_WALL_SECONDS = 1.0, 10.0
REPORT_CPU_SECONDS = 2.0
"""For the report of an interrupted command."""
NUM_DRAWN = 20


class Lab:
    """The processes that run the cases, from outside. The one for `probe space` imports no PyTorch, so that it forks faster."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._started: dict[str, tuple[Connection, Any]] = {}

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        for connection, process in self._started.values():
            connection.close()
            process.join()

    def run(self, case: Case) -> Ended:
        return self._ask("light" if case.args[:2] == ("space", "recipe.toml") else "heavy", "run", case)  # type: ignore[no-any-return]

    def keep(self, case: Case, folder: Path) -> None:
        """Write what the case finds to a folder, to look at it by hand."""
        self._ask("heavy", "keep", case, folder)

    def _ask(self, weight: str, *request: Any) -> Any:
        if weight not in self._started:
            context = multiprocessing.get_context("spawn")
            connection, other = context.Pipe()
            process = context.Process(target=_serve, args=(other, self._root / weight, weight == "heavy"))
            process.start()
            other.close()
            self._started[weight] = connection, process
        connection, _ = self._started[weight]
        connection.send(request)
        return connection.recv()


def _serve(connection: Connection, root: Path, is_heavy: bool) -> None:
    sandbox = Sandbox(root.resolve())
    os.environ.update(sandbox.environment())
    sys.dont_write_bytecode = True
    sandbox.clear()
    os.chdir(sandbox.work)
    fuzz_runs.warm_up(sandbox.private / "runs", is_heavy=is_heavy)
    workshop = _Workshop(sandbox)
    with contextlib.suppress(EOFError, BrokenPipeError):  # the lab was closed
        while True:
            what, *arguments = connection.recv()
            connection.send(getattr(workshop, what)(*arguments))


class _Workshop:
    """Prepares the sandbox for each case, forks, watches and judges."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.runs = sandbox.private / "runs"
        self._needed: dict[str, float] = {}

    def run(self, case: Case) -> Ended:
        for name in case.runs:
            self._make_run(name)
        limit = case.cpu_seconds + (INTERRUPT_CPU_SECONDS if case.interrupt else 0.0)
        ended = self._run(case, limit)
        if ended.killed == "hang" and (needed := self._cpu_seconds(case)):
            ended = self._run(case, limit + 2 * needed)
        return ended

    def keep(self, case: Case, folder: Path) -> None:
        for name in case.runs:
            self._make_run(name)
        self._prepare(case)
        shutil.copytree(self.sandbox.work, folder, symlinks=True, dirs_exist_ok=True)
        (folder / "command.txt").write_text(f"{case.text}\n", encoding="utf-8", errors="backslashreplace")

    def _prepare(self, case: Case) -> None:
        self.sandbox.clear()
        for name, content in case.files.items():
            (self.sandbox.work / name).write_bytes(content)
        for name in case.runs:
            shutil.copytree(self.runs / name, self.sandbox.work / name)
        for one in case.damage:
            apply(one, self.sandbox.work / case.runs[0], self.sandbox.work / case.runs[-1])

    def _make_run(self, name: str) -> None:
        """Make a search, once."""
        folder = self.runs / name
        if folder.exists():
            return
        if name == fuzz_runs.KILLED:
            self._make_run("search")
            shutil.copytree(self.runs / "search", folder)
            fuzz_runs.unfinish(folder)
            return
        ended = self._run(fuzz_runs.SEARCHED, limit=600.0)
        if ended.code != 0:
            raise RuntimeError(f"the search ended with {ended.code}: {ended.output}")
        shutil.copytree(self.sandbox.work / name, folder)

    def _cpu_seconds(self, case: Case) -> float:
        """What the command needs without damage."""
        command = case.args[0] if case.args else ""
        plain = fuzz_runs.PLAIN.get(command)
        if command not in self._needed and plain is not None:
            for name in plain.runs:
                self._make_run(name)
            self._needed[command] = self._run(plain, limit=600.0).cpu_seconds
        return self._needed.get(command, 0.0) + (REPORT_CPU_SECONDS if case.interrupt else 0.0)

    def _run(self, case: Case, limit: float) -> Ended:
        self._prepare(case)
        sandbox = self.sandbox
        allowed = [*(sandbox.work / name for name in case.writes), sandbox.root / STATE]
        before = sandbox.snapshot(allowed)
        files = {name: sandbox.private / name for name in ("out", "audit", "memory")}
        for path in files.values():
            path.unlink(missing_ok=True)
        started = time.time_ns()
        pid = os.fork()
        if pid == 0:
            files["memory"].write_text(str(psutil.Process().memory_info().rss))
            Audit(sandbox, allowed, files["audit"]).install()
            _run_command(case, files["out"])
        ended = self._watch(pid, case, limit)
        grown = ended.peak_bytes - int(files["memory"].read_text())
        killed = "memory" if grown > MOST_BYTES else ended.killed
        noted = files["audit"].read_text(errors="replace").splitlines() if files["audit"].exists() else []
        touched = [*dict.fromkeys(noted), *sandbox.touched(before, sandbox.snapshot(allowed))]
        written = [
            path for path in sandbox.work.glob("**/*.md") if path.is_file() and path.stat().st_mtime_ns >= started
        ]
        pages = [path.read_text(errors="replace") for path in written]
        output = files["out"].read_text(errors="replace") if files["out"].exists() else ""
        return replace(
            ended, killed=killed, peak_bytes=grown, output=output, touched=tuple(touched), pages="\n".join(pages)
        )

    def _watch(self, pid: int, case: Case, limit: float) -> Ended:
        """Wait for the end of the process, interrupt it if the case says so, and kill it at its limits."""
        process, started = psutil.Process(pid), time.monotonic()
        interrupted = not case.interrupt
        killed: str | None = None
        most = MOST_BYTES + psutil.Process().memory_info().rss
        cpu, peak, handle = 0.0, 0, os.pidfd_open(pid)
        while True:
            found, status, usage = os.wait4(pid, os.WNOHANG)
            if found:
                break
            select.select([handle], [], [], 0.02)
            try:
                times, memory = process.cpu_times(), process.memory_info()
            except psutil.NoSuchProcess:
                continue
            cpu, waited = times.user + times.system, time.monotonic() - started
            peak = max(peak, memory.rss)
            if not interrupted and (cpu > INTERRUPT_CPU_SECONDS or waited > INTERRUPT_WALL_SECONDS):
                interrupted = True
                os.kill(pid, signal.SIGINT)
            if killed is None and (peak > most or cpu > limit or waited > MOST_WALL_SECONDS):
                killed = "memory" if peak > most else "hang"
                os.kill(pid, signal.SIGUSR1)  # prints where it is
                time.sleep(0.2)
                os.kill(pid, signal.SIGKILL)
        os.close(handle)
        peak = max(peak, usage.ru_maxrss * 1024)
        return Ended(
            code=os.waitstatus_to_exitcode(status),
            output="",
            cpu_seconds=max(cpu, usage.ru_utime + usage.ru_stime),
            peak_bytes=peak,
            killed=killed,
        )


class _Stopped(BaseException):
    """A search reached its first trial."""


def _run_command(case: Case, out: Path) -> NoReturn:
    code = 70
    try:
        os.setsid()
        file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(file, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False, encoding="utf-8") for number in (1, 2))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        code = _code_of(case)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _code_of(case: Case) -> int:
    from probe.cli.main import main

    if case.before_first_trial:
        from probe.search import find

        find.__dict__["open_session"] = _draw_configurations
    sys.argv = ["probe", *case.args]
    try:
        main()
    except _Stopped:
        return 0
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    return 0


def _draw_configurations(request: Any) -> NoReturn:
    """In place of the start of a search: everything was checked, and what it would draw is drawn."""
    from probe.search.space.dimensions import expected_space
    from probe.search.space.space import complete, params_at, positions_of

    space = expected_space(request.recipe)
    for number in range(NUM_DRAWN):
        params = complete(space, {}, seed=number)
        again = params_at(space, positions_of(space, params))
        if again.keys() != params.keys():
            raise AssertionError(f"{params} at its own positions is {again}")
    raise _Stopped
