"""What README.md shows works: its commands parse, its Python runs, its pictures and links exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from probe.cli.main import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (probe .+?)(?: {2,}#.*)?$", README, flags=re.MULTILINE)
BLOCKS = re.findall(r"^```python\n(.+?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_there_is_something_to_check() -> None:
    assert len(COMMANDS) >= 7
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_parse(line: str) -> None:
    name, *arguments = shlex.split(line)[1:]
    command = cli.commands[name]
    with click.Context(cli, info_name="probe") as parent:
        command.make_context(name, arguments, parent=parent)
    recipes = [argument for argument in arguments if argument.endswith(".toml")]
    assert all((ROOT / recipe).is_file() for recipe in recipes)


def test_your_own_model_runs_as_shown(tmp_path: Path) -> None:
    task, calls = BLOCKS
    (tmp_path / "mytask.py").write_text(task)
    (tmp_path / "calls.py").write_text(calls)
    done = subprocess.run([sys.executable, "calls.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    size, fits, suggestion = done.stdout.splitlines()
    assert int(size) in {2**power for power in range(11)}
    assert fits == "True"
    assert suggestion.startswith("LrSuggestion(lr=")


def test_links_and_pictures_are_there() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
