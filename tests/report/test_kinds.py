"""The registry of the kinds of results."""

from __future__ import annotations

from importlib import import_module
from typing import get_args

import pytest

from probe.report.kinds import KINDS, Result


def test_every_kind_of_result_is_registered_under_its_own_name() -> None:
    assert {kind.record for kind in KINDS.values()} == set(get_args(Result))
    for name, kind in KINDS.items():
        assert kind.record.__dataclass_fields__["kind"].default == name


@pytest.mark.parametrize("name", KINDS)
def test_plots_and_files_that_are_imported_late_exist(name: str) -> None:
    for reference in (KINDS[name].plots, KINDS[name].files):
        if reference is not None:
            module, _, function = reference.partition(":")
            assert callable(getattr(import_module(f"probe.report.{module}"), function))
