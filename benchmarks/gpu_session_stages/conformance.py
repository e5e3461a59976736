"""The conformance tests of devices (tests/support/conformance.py) on this GPU. They run without pytest too."""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from gpu_session_stages.session import Session, first_line
from probe.device.select import open_device, parse_device

MIB = 2**20
SUPPORT = Path(__file__).parents[2] / "tests" / "support"


def run(session: Session) -> None:
    suite = conformance_suite()
    for name in [name for name in dir(suite) if name.startswith("test_")]:
        device = open_device(parse_device(session.device), measuring_memory=True)
        device.release()
        tests = suite()
        tests.too_many_bytes = (device.limit_bytes or 0) + MIB
        problem = None
        try:
            getattr(tests, name)(device)
        except Exception as error:
            failed = traceback.extract_tb(error.__traceback__)[-1].line
            problem = f"{type(error).__name__}: {first_line(error) or failed}"
        session.add(
            "Conformance", promise=name.removeprefix("test_").replace("_", " "), kept=problem is None, problem=problem
        )
    session.note(
        "Run by pytest's own `raises`." if "_pytest" in sys.modules else "pytest is not installed: run without it."
    )


def conformance_suite() -> Any:
    """The class DeviceConformance. Without pytest, the two names that its module uses are made here."""
    try:
        importlib.import_module("pytest")
    except ImportError:
        made = ModuleType("pytest")
        made.fixture = lambda function: function  # type: ignore[attr-defined]  # a module made here
        made.raises = raises  # type: ignore[attr-defined]  # a module made here
        sys.modules["pytest"] = made
    sys.path.insert(0, str(SUPPORT))
    return importlib.import_module("conformance").DeviceConformance


@contextmanager
def raises(kind: type[BaseException], *, match: str = "") -> Iterator[SimpleNamespace]:
    """As pytest.raises."""
    caught = SimpleNamespace(value=None)
    try:
        yield caught
    except kind as error:
        caught.value = error
    assert caught.value is not None, f"{kind.__name__} was not raised"
    assert re.search(match, str(caught.value)), f"{match!r} is not in {str(caught.value)!r}"
