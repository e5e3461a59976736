"""Help is complete and fast, and its options are a promise."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import click
import pytest
from cli_tools import environment

import probe
from probe.cli.main import cli, run
from probe.cli.options import PRECISIONS
from probe.records import Precision

SOURCE = ["recipe", "--task", "--model", "--data", "--img", "--data-dir", "--trust"]
OUTPUT = ["--out", "--json", "--quiet", "--debug"]
OPTIONS = {
    "batch": [
        *[*SOURCE, "--start", "--max", "--confirm-steps", "--attempt-timeout", "--optimizer", "--precision"],
        *["--activation-checkpointing", "--variants", "--device", "--memory", "--seed", *OUTPUT],
    ],
    "lr": [
        *[*SOURCE, "--from", "--to", "--steps", "--repeats", "--confirm", "--training-steps", "--batch", "--optimizer"],
        *["--per", "--lr-schedule", "--precision", "--device", "--seed", *OUTPUT],
    ],
    "space": ["recipe", "--set", "--try", "--debug"],
    "search": [
        *["recipe", "--set", "--try", "--trials", "--epochs", "--time", "--workers", "--device", "--data-dir", "--ray"],
        *["--storage", "--seed", "--deterministic", "--resume", "--allow-code-changes", "--trust", *OUTPUT],
    ],
    "train": ["recipe", "--set", "--epochs", "--all-data", "--device", "--data-dir", "--seed", "--trust", *OUTPUT],
    "compare": ["runs", *OUTPUT],
    "report": ["run", "--out", "--quiet", "--debug"],
    "export": ["run", "--optuna", "--debug"],
    "data": ["name", "--data-dir", "--quiet", "--debug"],
    "devices": ["--debug"],
}
HEAVY = [
    *["torch", "torchvision", "optuna", "ray", "pandas", "matplotlib", "pydantic", "sklearn", "numpy", "rich", "scipy"],
]


def test_every_command_has_exactly_the_promised_options() -> None:
    found = {
        name: [parameter.opts[0] for parameter in command.params if parameter.name != "help"]
        for name, command in cli.commands.items()
    }
    assert found == OPTIONS


def test_precisions_are_those_of_the_records() -> None:
    assert get_args(Precision) == PRECISIONS


def test_help_imports_no_library_but_click() -> None:
    script = (
        "import sys; from probe.cli.main import cli, run;"
        "codes = [run([*command, '--help']) for command in [[], *([name] for name in cli.commands)]];"
        f"heavy = [name for name in {HEAVY} if name in sys.modules];"
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('probe.')};"
        "print('LOADED', sum(codes), len(codes), heavy, sorted(rooms))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    loaded = ["cli", "errors", "limits", "printable", "system", "version"]
    assert done.stdout.splitlines()[-1] == f"LOADED 0 {len(OPTIONS) + 1} [] {loaded}"


@pytest.mark.parametrize("name", OPTIONS)
def test_every_command_is_explained_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"\n  $ probe {name}" in text.partition("Examples:")[2]
    for option in cli.commands[name].params:
        assert not isinstance(option, click.Option) or option.help


def test_group_shows_each_command_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert [line.split()[2] for line in text.splitlines() if line.strip().startswith("$ probe")] == list(OPTIONS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"probe {probe.__version__}\n"
