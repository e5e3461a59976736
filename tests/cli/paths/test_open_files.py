"""Too many open files: one sentence that names the limit."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import environment

from probe.cli.main import run

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))
from probe.cli.main import main
sys.argv = ["probe", *sys.argv[1:]]
main()
"""


def test_a_search_that_may_open_few_files_names_the_limit(users_folder: Path) -> None:
    command = [sys.executable, "-c", LIMITED, "search", "blobs.toml", "--device", "cpu", "--workers", "2"]
    ended = subprocess.run(command, cwd=users_folder, env=environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "12 (`ulimit -n`)" in ended.stderr
    assert ended.stderr.count("Error: ") == 1
    assert "bug in probe" not in ended.stderr
    assert not (users_folder / "reports").exists() or not list((users_folder / "reports").iterdir())


def test_a_recipe_that_cannot_be_opened_names_the_limit(users_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["space", "blobs.toml"]) == 0  # everything is imported
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        code = run(["space", "blobs.toml"])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert code == 2
    assert "the limit of this process is 1 (`ulimit -n`)" in capsys.readouterr().err
