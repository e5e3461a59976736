"""Help is complete, quick to load, and its options are a promise."""

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

SOURCE = ["recipe", "--task", "--model", "--data", "--img"]
TRAINER = ["--optimizer", "--precision"]
RUN = ["--out", "--data-dir", "--json", "--quiet", "--debug"]
OPTIONS = {
    "batch": [
        *[
            *SOURCE,
            "--start",
            "--max",
            *TRAINER,
            "--activation-checkpointing",
            "--device",
            "--memory",
            "--confirm-steps",
            "--seed",
        ],
        *RUN,
    ],
    "lr": [
        *[*SOURCE, "--batch", "--from", "--to", "--steps", "--training-steps", "--repeats", "--confirm", "--per"],
        *["--optimizer", "--lr-schedule", "--precision", "--device", "--seed"],
        *RUN,
    ],
    "space": ["recipe", "--set", "--try", "--debug"],
    "search": [
        *[
            "recipe",
            "--set",
            "--try",
            "--trials",
            "--epochs",
            "--time",
            "--workers",
            "--ray",
            "--storage",
            "--resume",
            "--allow-code-changes",
            "--deterministic",
        ],
        *["--device", "--seed", *RUN],
    ],
    "train": ["recipe", "--set", "--epochs", "--all-data", "--device", "--seed", *RUN],
    "compare": ["runs", "--out", "--json", "--quiet", "--debug"],
    "report": ["run", "--quiet", "--debug"],
    "export": ["run", "--optuna", "--debug"],
    "data": ["name", "--data-dir", "--quiet", "--debug"],
    "devices": ["--debug"],
}
HEAVY = [
    "torch",
    "torchvision",
    "optuna",
    "ray",
    "pandas",
    "matplotlib",
    "pydantic",
    "sklearn",
    "numpy",
    "rich",
    "scipy",
]
COMMANDS = [[], *([name] for name in OPTIONS)]


def test_every_command_has_exactly_the_options_that_were_promised() -> None:
    found = {
        name: [parameter.opts[0] for parameter in command.params if parameter.name != "help"]
        for name, command in cli.commands.items()
    }
    assert found == OPTIONS


def test_precisions_are_those_of_the_records() -> None:
    assert get_args(Precision) == PRECISIONS


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command) or "probe")
def test_help_loads_no_library_but_click(command: list[str]) -> None:
    script = (
        "import sys; from probe.cli.main import run; code = run(sys.argv[1:]);"
        f"heavy = [name for name in {HEAVY} if name in sys.modules];"
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('probe.')};"
        "print('LOADED', code, heavy, sorted(rooms))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command, "--help"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "LOADED 0 [] ['cli', 'errors', 'version']"


@pytest.mark.parametrize("name", OPTIONS)
def test_every_command_is_explained_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"\n  probe {name}" in text.partition("Examples:")[2]
    for option in cli.commands[name].params:
        assert not isinstance(option, click.Option) or option.help


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("lr", ["--batch N,..", "--training-steps N", "--repeats N", "--confirm [full]", "--per optimizer"]),
        ("lr", ["--optimizer NAME,..", "--lr-schedule NAME", "--precision P "]),
        ("batch", ["--optimizer NAME ", "--precision P,.."]),
    ],
    ids=["lr", "lr's trainer", "batch"],
)
def test_help_shows_what_an_option_takes_and_which_take_several(
    name: str, shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert [option for option in shown if f"  {option}" not in text] == []


def test_group_shows_each_command_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert [line.split()[2] for line in text.splitlines() if line.strip().startswith("$ probe")] == list(OPTIONS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"probe {probe.__version__}\n"
