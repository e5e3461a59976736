"""`probe search --ray` with a mistyped address."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cli_tools import fill

from probe.cli.main import run


@pytest.fixture(autouse=True)
def _in_a_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "clitask", raising=False)


@pytest.mark.parametrize(
    ("address", "said"),
    [("nonsense", "not an address of a Ray cluster"), ("local:0", "a cluster needs at least one worker")],
)
def test_a_mistyped_address(address: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "blobs.toml", "--ray", address, "--out", "none"]) == 2
    err = capsys.readouterr().err
    assert f"--ray {address}: {said}" in err
    assert "--ray HOST:PORT" in err
    assert not Path("none").exists()
