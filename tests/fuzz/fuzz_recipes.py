"""Mutated recipes: those of recipes/ and of the tests, with keys, values, tables and bytes that nobody meant."""

from __future__ import annotations

import copy
import datetime
import math
import tomllib
from pathlib import Path
from typing import Any

import tomli_w
from fuzz_case import Case
from fuzz_damage import places_of
from fuzz_runs import ONE, TINY, USERS_FILES
from hypothesis import strategies as st
from recipe_texts import RECIPE

from probe.search.samplers.registry import SAMPLERS
from probe.search.schedulers.registry import SCHEDULERS

FOLDER = Path(__file__).parents[2] / "recipes"
BASES: list[dict[str, Any]] = [
    tomllib.loads(text)
    for text in (TINY.decode(), ONE.decode(), RECIPE, *(path.read_text() for path in sorted(FOLDER.glob("*.toml"))))
]
NUMBERS: tuple[int | float, ...] = (
    0, 1, -1, 2, 3, 7, 8, 64, 1000, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**19, 10**400, -(10**400), 0.0, -0.0, 0.5,
    1e-3, 1.0, 1.5, 1e-320, 5e-324, 1e-300, 1e16, 1e300, 1.7e308, -1e308, math.nan, math.inf, -math.inf,
)  # fmt: skip
STRINGS = (
    "", " ", "none", "auto", "sgd", "adam", "adamw", "Adam", "rmsprop", "loss", "accuracy", "max", "min", "mlp", "cnn",
    "resnet18", "digits", "mnist", "csv:missing.csv", "csv:", "csv:../neighbour/notes.txt", "folder:/", "text:mine.txt",
    "series:mine.txt", "synthetic", "90s", "0s", "1e999s", "999999999999h", "8GiB", "0B", "1e30TiB",
    "cuda:999999999999", "simulated:8GiB", "fp16", "cosine", "true", "nan", "clitask:task", "clitask:nothing",
    "os:system", "os.path:join", "missing:task", "a:b:c", "\x1b[31mred\x07", "\u202ereversed", "naïve 日本 \U0001f600",
    "a\nb\tc", "\u2028", "a|b`c`", "<script>alert(1)</script>", "%s %d {0} {x}", "../../x", "/etc/passwd", "x" * 300,
    "x" * 20_000, "--help", "-", "🇩🇪", "\ufeff",
)  # fmt: skip
NAMES = (
    "lr", "batch_size", "optimizer", "momentum", "weight_decay", "width", "layers", "depth", "dropout", "epochs",
    "lr_schedule", "loss", "label_smoothing", "focal_gamma", "augmentation", "augmentation_strength", "max_grad_norm",
    "gradient_accumulation", "precision", "activation_checkpointing", "class_weights", "l1", "l2", "betas", "seed",
    "lrr", "", " ", "a.b", "naïve", "x" * 300, "\x1b[31m", "<b>", "per", "low", "choices", "num_workers", "device",
    "__class__",
)  # fmt: skip
DATES = (datetime.date(2026, 1, 1), datetime.datetime(1, 1, 1), datetime.time(23, 59))

PLAUSIBLE = (1e-6, 1e-4, 0.01, 0.1, 0.5, 0.9, 1, 1.0, 2, 3, 4, 8, 16, 32, 64, 100, 1000)

plausible = st.sampled_from(PLAUSIBLE)
numbers = st.sampled_from(NUMBERS) | st.integers(-10, 2000) | st.floats(allow_nan=True, width=32)
scalars = numbers | st.sampled_from(STRINGS) | st.sampled_from(STRINGS[:45]) | st.booleans() | st.text(max_size=6)
conditions = st.dictionaries(
    st.sampled_from(NAMES[:12]),
    scalars
    | st.lists(scalars, max_size=3)
    | st.dictionaries(st.sampled_from(("min", "max", "mid")), numbers, max_size=2),
    max_size=2,
)


def _with(required: dict[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(required, optional=optional)


ranges = _with(
    {"low": numbers, "high": numbers},
    log=st.just(True),
    pow2=st.just(True),
    step=numbers,
    steps=numbers,
    when=conditions,
)
choices = _with({"choices": st.lists(scalars, max_size=5)}, when=conditions)
probes = _with(
    {"probe": st.sampled_from(("max_batch", "range_test", "x"))},
    max=numbers,
    per=st.just("optimizer"),
    below=numbers,
    above=numbers,
)
long_lists = st.builds(
    lambda number, start: {"choices": [start + i for i in range(number)]}, st.sampled_from((500, 5000)), numbers
)
valid_ranges = st.builds(
    lambda ends, more: {"low": min(ends), "high": max(ends), **more},
    st.tuples(plausible, plausible),
    _with({}, log=st.just(True), steps=st.integers(2, 9), when=st.just({"optimizer": "sgd"}), step=plausible),
)
valid_choices = _with({"choices": st.lists(plausible | st.sampled_from(STRINGS), min_size=1, max_size=4, unique=True)})
entries = valid_ranges | valid_ranges | valid_choices | ranges | ranges | choices | probes | scalars | long_lists
refines = _with(
    {
        "method": st.just("hypergradient"),
        "after": numbers,
        "hyperparameters": st.lists(st.sampled_from(NAMES[:5]), max_size=3),
    },
    step=numbers,
    unroll=numbers,
)


def _sections(numbers: st.SearchStrategy[Any], scalars: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    """Key of a recipe -> values for it."""
    return {
        "search.refine": refines,
        "search.sampler": st.sampled_from((*SAMPLERS, "auto", "bayes")),
        "search.scheduler": st.sampled_from((*SCHEDULERS, "auto")),
        "search.fidelity": _with(
            {}, unit=st.sampled_from(("epochs", "data", "x")), min=numbers, max=numbers, factor=numbers, epochs=numbers
        ),
        "search.constraints": _with({}, params=numbers, step_ms=numbers, memory=scalars),
        "search.patience": numbers,
        "search.trial_time": scalars,
        "search.on_oom": st.sampled_from(("accumulate", "infeasible", "x")),
        "search.seed": numbers,
        "task.validation": _with({}, kind=st.sampled_from(("holdout", "kfold", "x")), fraction=numbers, k=numbers),
        "task.objective": _with(
            {}, metric=st.sampled_from(STRINGS[:14]), mode=st.sampled_from(("min", "max")), reduce=scalars
        ),
        "task.data_options": _with(
            {}, target=scalars, ignore=st.lists(scalars), test_fraction=numbers, horizon=numbers
        ),
        "task.image_size": numbers,
        "task.num_train": numbers,
        "task.weights": scalars,
        "task.target": st.sampled_from(STRINGS),
        "budget": _with({}, trials=numbers, epochs=numbers, time=scalars),
        "batch": _with({}, start=numbers, max=numbers, img=numbers, device=scalars, memory=scalars, precision=scalars),
        "lr": _with(
            {"from": numbers, "to": numbers},
            steps=numbers,
            training_steps=numbers,
            repeats=numbers,
            confirm=scalars,
            batch=numbers,
        ),
        "start": st.lists(st.dictionaries(st.sampled_from(NAMES), scalars, max_size=3), max_size=3),
    }


SECTIONS = (_sections(numbers, scalars), _sections(plausible, plausible | st.sampled_from(STRINGS[:17])))
"""With any values, and with those that are often right."""
ENTRIES = (entries, valid_ranges | valid_choices)


CHANGES = (
    "delete",
    "rename",
    "value",
    "value",
    "wrap",
    "swap",
    "delete",
    "section",
    "section",
    "entry",
    "entry",
    "entry",
)


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """A base recipe after one to four changes of its structure."""
    content: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(BASES)))
    tame = draw(st.integers(0, 1))
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 2, 3)))):
        how = draw(
            st.sampled_from(
                ("delete", "rename", "value", "value", "wrap", "swap", "section", "section", "entry", "entry", "entry")
            )
        )
        if how == "section":
            key = draw(st.sampled_from(sorted(SECTIONS[tame])))
            _put(content, key, draw(SECTIONS[tame][key]))
        elif how == "entry":
            _put(content, "space", draw(ENTRIES[tame]), draw(st.sampled_from(NAMES[: 23 if tame else None])))
        elif places := places_of(content):
            _change(draw, how, places)
    return content


def _put(content: dict[str, Any], path: str, value: Any, last: str | None = None) -> None:
    table: Any = content
    keys = [*path.split("."), *([] if last is None else [last])]
    for key in keys[:-1]:
        if not isinstance(table.get(key), dict):
            table[key] = {}
        table = table[key]
    table[keys[-1]] = value


def _change(draw: st.DrawFn, how: str, places: list[tuple[Any, Any]]) -> None:
    container, key = places[draw(st.integers(0, len(places) - 1))]
    if how == "delete":
        del container[key]
    elif how == "rename" and isinstance(container, dict):
        old = str(key)
        container[draw(st.sampled_from((*NAMES, old[:-1], f"{old}s", old.upper(), f" {old}")))] = container.pop(key)
    elif how == "swap":
        other, at = places[draw(st.integers(0, len(places) - 1))]
        value = copy.deepcopy(container[key])
        container[key] = copy.deepcopy(other[at])
        other[at] = value
    elif how == "wrap":
        value = container[key]
        container[key] = draw(
            st.sampled_from(
                ([value], [value, value], {"value": value}, {"choices": [value]}, {str(key): value}, [[value]])
            )
        )
    else:
        container[key] = draw(scalars | entries | st.sampled_from(DATES))


BROKEN: dict[str, Any] = {
    "bom": lambda text, at: b"\xef\xbb\xbf" + text,
    "utf-16": lambda text, at: text.decode().encode("utf-16", errors="surrogatepass"),
    "latin-1": lambda text, at: text.replace(b"e", b"\xe9", 3),
    "crlf": lambda text, at: text.replace(b"\n", b"\r\n"),
    "cr": lambda text, at: text.replace(b"\n", b"\r", 2),
    "cut": lambda text, at: text[: int(at * len(text))],
    "byte": lambda text, at: text[: int(at * len(text))] + bytes([int(at * 7919) % 256]) + text[int(at * len(text)) + 1 :],
    "null": lambda text, at: text[: int(at * len(text))] + b"\x00" + text[int(at * len(text)) :],
    "line twice": lambda text, at: b"\n".join(_line_twice(text.split(b"\n"), at)),
    "line gone": lambda text, at: text.replace(text.split(b"\n")[int(at * text.count(b"\n"))], b"", 1),
    "brackets": lambda text, at: text + b"\nx = " + b"[" * int(50_000 * at),
    "tables": lambda text, at: text + b"\n[" + b".".join([b"a"] * int(3000 * at)) + b"]\n",
    "braces": lambda text, at: text + b"\nx = " + b"{a = " * int(2000 * at),
    "digits": lambda text, at: text + b"\nx = " + b"9" * int(9000 * at + 1),
    "empty": lambda text, at: b"",
}  # fmt: skip
"""Ways to break the bytes of a recipe."""


def _line_twice(lines: list[bytes], at: float) -> list[bytes]:
    place = int(at * len(lines))
    return [*lines[:place], lines[place], *lines[place:]]


SETTINGS = (
    "search.seed",
    "budget.trials",
    "budget.epochs",
    "budget.time",
    "space.lr",
    "space.width",
    "x",
    "a.b.c",
    "task",
)


@st.composite
def recipes(draw: st.DrawFn) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a recipe, and options that change it."""
    try:
        text = tomli_w.dumps(draw(contents())).encode(errors="surrogatepass")
    except (TypeError, ValueError):  # 10**400 has more digits than Python writes
        text = TINY
    if draw(st.integers(0, 5)) == 0:
        text = BROKEN[draw(st.sampled_from(sorted(BROKEN)))](text, draw(st.floats(0, 1, exclude_max=True)))
    value = draw(scalars)
    match draw(st.integers(0, 15)):
        case 0:
            return text, ("--set", _typed(f"{draw(st.sampled_from(SETTINGS))}={value}"))
        case 1:
            return text, ("--set", _typed(f"{draw(st.sampled_from(SETTINGS))}={value!r}"))
        case 2:
            return text, ("--try", _typed(f"{draw(st.sampled_from(NAMES))}={value}"))
    return text, ()


def _typed(option: str) -> str:
    """An option as it can be typed: without a null byte."""
    return option.replace("\x00", "")


def space_case(recipe: bytes, options: tuple[str, ...]) -> Case:
    return Case(args=("space", "recipe.toml", *options), files=_files(recipe))


def search_case(recipe: bytes, options: tuple[str, ...]) -> Case:
    """The search up to its first trial."""
    args = ("search", "recipe.toml", *options, "--device", "cpu", "--workers", "1", "--quiet", "--out", "run")
    return Case(args=args, files=_files(recipe), writes=("run",), before_first_trial=True)


def trials_case(recipe: bytes, options: tuple[str, ...]) -> Case:
    """Two trials of a short search."""
    short = ("--trials", "2", "--time", "20s", "--device", "cpu", "--workers", "1", "--quiet", "--out", "run")
    return Case(args=("search", "recipe.toml", *options, *short), files=_files(recipe), writes=("run",), interrupt=True)


def _files(recipe: bytes) -> dict[str, bytes]:
    return {"recipe.toml": recipe, "clitask.py": USERS_FILES["clitask.py"]}
