"""What a call changes of a worker's settings does not reach the next call; real child processes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from probe.tasks.target import find_target
from probe.workers.process_state import ProcessState
from probe.workers.worker import Worker

CHANGES = {
    "folder": "os.chdir('/')",
    "removed folder": "folder = tempfile.mkdtemp(); os.chdir(folder); os.rmdir(folder)",
    "path": "sys.path.insert(0, '/nowhere')",
    "arguments": "sys.argv.append('--left')",
    "environment": "os.environ['LEFT'] = '1'; os.environ['HOME'] = '/'; del os.environ['PATH']",
    "warnings": "warnings.simplefilter('error'); warnings.showwarning = print",
    "streams": "sys.stdout = sys.stderr = io.StringIO()",
    "recursion": "sys.setrecursionlimit(7000)",
    "collector": "gc.disable(); gc.set_threshold(1)",
    "denormals": "torch.set_flush_denormal(True)",
    "numpy errors": "numpy.seterr(all='raise')",
    "dtype": "torch.set_default_dtype(torch.float64)",
    "device": "torch.set_default_device('meta')",
    "gradients": "torch.set_grad_enabled(False)",
    "anomalies": "torch.autograd.set_detect_anomaly(True, check_nan=False)",
    "determinism": "torch.use_deterministic_algorithms(True, warn_only=True); "
    "torch.utils.deterministic.fill_uninitialized_memory = False",
    "threads": "torch.set_num_threads(7)",
    "cudnn": "torch.backends.cudnn.benchmark = True; torch.backends.cudnn.deterministic = True",
    "old precision": "torch.set_float32_matmul_precision('medium')",
    "new precision": "torch.backends.fp32_precision = 'tf32'; torch.backends.cuda.matmul.fp32_precision = 'ieee'",
    "attention": "torch.backends.cuda.enable_flash_sdp(False); torch.backends.cuda.enable_math_sdp(False)",
    "autocast": "torch.set_autocast_enabled('cpu', True); torch.set_autocast_dtype('cpu', torch.float16)",
    "sharing": "torch.multiprocessing.set_sharing_strategy('file_system')",
}
IMPORTS = "import gc, io, os, sys, tempfile, warnings, numpy, torch; "


def prepare() -> None:
    import numpy
    import torch

    torch.set_num_threads(1)
    assert numpy


def seen() -> list[str]:
    """The values of all settings, as text: a stream that was replaced has another address."""
    values = [value for _, value in ProcessState.captured().values]
    return [repr(sorted(value.items()) if isinstance(value, dict) else value) for value in values]


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(prepare=prepare) as worker:
        yield worker


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_a_call_leaves_behind_is_put_back(worker: Worker, change: str) -> None:
    before = worker.call(seen)
    during: list[str] = worker.call(_changed, IMPORTS + change)
    assert during != before
    assert worker.call(seen) == before


def _changed(code: str) -> list[str]:
    exec(code, {})
    return seen()


def test_so_is_what_a_call_leaves_that_fails(worker: Worker) -> None:
    before = worker.call(seen)
    with pytest.raises(Exception, match="ZeroDivisionError"):
        worker.call(exec, "import torch; torch.set_default_dtype(torch.float64); 1 / 0", {})
    assert worker.call(seen) == before


def test_prepare_makes_settings_for_all_calls(worker: Worker) -> None:
    assert worker.call(_num_threads) == worker.call(_num_threads) == 1


def _num_threads() -> int:
    import torch

    return torch.get_num_threads()


def test_settings_that_a_module_makes_when_imported_hold_for_all_calls(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settles.py").write_text(
        "import os, torch\ntorch.set_default_dtype(torch.float64)\nos.environ['SETTLED'] = '1'\n"
        "def task():\n    torch.set_default_dtype(torch.float32)\n    return os.environ['SETTLED']\n"
    )
    worker.call(sys.path.insert, 0, str(tmp_path))  # put back, too: the module is found in the current folder only
    before = worker.call(seen)
    assert worker.call(_run_target, str(tmp_path)) == ("torch.float64", "1")
    assert worker.call(seen) != before
    assert worker.call(_run_target, str(tmp_path)) == ("torch.float64", "1")


def _run_target(folder: str) -> tuple[str, str]:
    import os

    import torch

    os.chdir(folder)
    found = find_target("settles:task")
    return str(torch.get_default_dtype()), found()


def test_imports_are_not_traversed_and_what_calls_leave_is_collected(worker: Worker) -> None:
    assert worker.call(gc.get_freeze_count) > 50_000
    worker.call(_leave_a_cycle)
    worker.call(gc.collect)
    assert worker.call(_num_left) == 0


def _leave_a_cycle() -> None:
    import weakref

    import torch

    class Holder:
        pass

    holder: Any = Holder()
    holder.itself, holder.tensor = holder, torch.ones(10)
    sys.modules["gc"].watched = weakref.ref(holder)  # type: ignore[attr-defined]  # where the next call finds it


def _num_left() -> int:
    return int(gc.watched() is not None)  # type: ignore[attr-defined]


def test_a_worker_that_was_not_prepared_keeps_what_calls_leave() -> None:
    with Worker() as worker:
        worker.call(exec, "import os; os.environ['LEFT'] = '1'", {})
        assert worker.call(exec, "import os; assert os.environ['LEFT'] == '1'", {}) is None
