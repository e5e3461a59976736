"""Command lines, from click's own commands and options, with valid, extreme and wrong values."""

from __future__ import annotations

from typing import Any

import click
from fuzz_case import Case
from fuzz_runs import RUN_NAMES, USERS_FILES
from hypothesis import strategies as st

from probe.cli.main import cli

ODD = (
    "", " ", "0", "-1", "1", "2", "3.5", "1e3", "1_000", "２０", "99999999999999999999", "9223372036854775807", "nan",
    "inf", "1e-400", "1e400", "abc", "none", "auto", "-", "--", "--help", "-x", "a,b", ",", "1,1", "1,2,",
    "\x1b[31mred", "\u202e", "日本", "\udcff", "x" * 300, "x" * 5000, "/", "..", ".", "~", "../neighbour",
    "../neighbour/notes.txt", "/dev/null", "/dev/full", "mine.txt", "mine.txt/x", "missing/a/b", "a b", "a:b", ":",
    "os:system", "key=value", "=", "a=", "=b", "%s", "$HOME", "*",
)  # fmt: skip
RUNS = (
    *RUN_NAMES,
    "search/result.json",
    "search/search.sqlite",
    "killed/search.sqlite",
    "missing",
    "mine.txt",
    ".",
    "../neighbour",
)
VALID: dict[str, tuple[str, ...]] = {
    "recipe": (
        "tiny.toml",
        "one.toml",
        "blobs.toml",
        "search/best.toml",
        "train/best.toml",
        "missing.toml",
        "mine.txt",
        ".",
    ),
    "run": RUNS,
    "runs": RUNS,
    "name": ("digits", "mnist-not", "csv:mine.txt", "synthetic"),
    "--task": (
        "clitask:task",
        "clitask:bug",
        "clitask:nothing",
        "clitask:missing",
        "missing:task",
        "clitask",
        "clitask:no_data",
    ),
    "--model": ("mlp", "cnn", "lstm", "resnet", "nothing"),
    "--data": ("digits", "synthetic", "csv:mine.txt", "csv:missing.csv", "folder:.", "text:mine.txt"),
    "--img": ("8", "16,8", "0", "100000"),
    "--data-dir": ("data", "."),
    "--device": ("cpu", "auto", "cuda", "cuda:7", "simulated:64MiB", "simulated:1KiB", "simulated:x"),
    "--memory": ("8GiB", "1KiB", "64MiB"),
    "--optimizer": ("sgd", "adam", "sgd,adam", "lion"),
    "--precision": ("fp32", "bf16", "fp32,bf16", "fp8"),
    "--set": (
        "search.seed=1",
        "space.lr=0.1",
        "budget.trials=1",
        "search.sampler=grid",
        "space.x=1",
        "task.target=os:system",
    ),
    "--try": ("lr=0.01", "lr=0.01,width=8", "lr=9", "x=1"),
    "--steps": ("20", "2"),
    "--trials": ("1", "2", "none"),
    "--epochs": ("1", "2.5", "none"),
    "--time": ("5s", "1s", "none", "0s"),
    "--out": ("out", "a/b/c", "search", "killed", "mine.txt"),
    "--json": ("-", "out.json", "mine.txt", "missing/out.json"),
    "--storage": ("store", "../store", "mine.txt"),
    "--ray": ("local:0", "127.0.0.1:1", "x"),
    "--optuna": (
        "sqlite:///x.db",
        "sqlite:////dev/full",
        "sqlite://",
        "mysql://nobody@127.0.0.1:1/x",
        "x",
        "journal.log",
    ),
    "--per": ("optimizer",),
    "--from": ("1e-4",),
    "--to": ("1.0",),
}
NEVER = {"--ray"}
"""Options that start a cluster with a valid value; they get odd values only."""
CHEAP = {
    "batch": ("--max", "8"),
    "lr": ("--steps", "20"),
    "search": ("--trials", "1", "--workers", "1"),
    "train": ("--epochs", "1"),
}
"""What makes a measurement short, unless the options are given otherwise. All are interrupted after a second."""
WRITES = (
    "reports",
    "out",
    "a",
    "out.json",
    "x.db",
    "x.db-journal",
    "journal.log",
    "journal.log.lock",
    "data",
    "store",
    *RUN_NAMES,
)


@st.composite
def command_lines(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from(sorted(cli.commands)))
    params = cli.commands[name].params
    args: list[str] = [name]
    for param in params:
        if isinstance(param, click.Argument):
            args += draw(_arguments(param))
        elif draw(st.integers(0, len(params))) < 2:
            args += draw(_options(param))
    options = CHEAP.get(name, ())
    for flag, value in zip(options[::2], options[1::2], strict=True):
        if flag not in args and draw(st.integers(0, 19)):
            args += [flag, value]
    if draw(st.integers(0, 15)) == 0:
        args.insert(draw(st.integers(0, len(args))), draw(st.sampled_from(ODD)))
    used = tuple(run for run in RUN_NAMES if any(arg.partition("/")[0] == run for arg in args[1:]))
    return Case(args=tuple(args), files=USERS_FILES, runs=used, writes=_writes(args), interrupt=name in CHEAP)


def _writes(args: list[str]) -> tuple[str, ...]:
    """What the command line may write: the usual places, and those that it names itself."""
    named = [arg.partition("=")[2] if arg.startswith("--") else arg for arg in args[1:]]
    new = [name.partition("/")[0] for name in named if name and not name.startswith((".", "/", "mine"))]
    return (*WRITES, *(name for name in new if name not in USERS_FILES and len(name) < 200))


def _arguments(param: click.Argument) -> st.SearchStrategy[list[str]]:
    least = 1 if param.required else 0
    return st.lists(
        _values(param.name or ""), min_size=0 if param.nargs < 0 else least, max_size=3 if param.nargs < 0 else 1
    )


def _options(param: Any) -> st.SearchStrategy[list[str]]:
    flag = max(param.opts, key=len)
    if param.is_flag:
        return st.just([flag])
    values = st.sampled_from(ODD[:10]) if flag in NEVER else _values(flag)
    return values.map(lambda value: [flag, value])


def _values(name: str) -> st.SearchStrategy[str]:
    odd = st.sampled_from(ODD) | st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=8)
    if name not in VALID:
        return odd | st.just("2")
    return st.integers(0, 9).flatmap(lambda place: odd if place == 9 else st.sampled_from(VALID[name]))
