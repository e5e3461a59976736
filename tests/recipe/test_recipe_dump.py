from __future__ import annotations

import tomllib
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.errors import RecipeError
from probe.limits import LARGEST, is_number, is_text
from probe.recipe.dump import comment, dump_plain, dump_recipe, fixed_params, fixed_plain, recipe_hash, with_seed
from probe.recipe.load import parse_recipe
from probe.recipe.schema import Recipe

NAMES = st.from_regex(r"[a-z][a-z_0-9]{0,8}", fullmatch=True).filter(lambda name: name != "epochs")
FREE_NAMES = st.builds("x_{}".format, NAMES)
"""Names that are none of the trainer's, so that any value is allowed."""
TEXTS = st.text(max_size=12)
FLOATS = st.floats(-LARGEST, LARGEST).filter(is_number)
SCALARS = st.booleans() | st.integers(-(2**40), 2**40) | FLOATS | TEXTS


def sorted_pair(pair: tuple[Any, Any]) -> dict[str, Any]:
    return {"low": min(pair), "high": max(pair)}


def unequal(pair: tuple[Any, Any]) -> bool:
    return bool(pair[0] != pair[1])


WHOLE_RANGES = st.tuples(st.integers(-1000, 1000), st.integers(-1000, 1000)).filter(unequal).map(sorted_pair)
FLOAT_RANGES = st.tuples(FLOATS, FLOATS).filter(unequal).map(sorted_pair)
LOG_RANGES = st.tuples(st.floats(1e-9, 1), st.floats(2, 1e9)).map(sorted_pair).map(lambda r: {**r, "log": True})
POW2_RANGES = st.tuples(st.integers(0, 8), st.integers(9, 20)).map(
    lambda powers: {"low": 2 ** powers[0], "high": 2 ** powers[1], "pow2": True}
)
STEPPED_RANGES = st.tuples(st.integers(-100, 100), st.integers(1, 50), st.integers(1, 100)).map(
    lambda parts: {"low": parts[0] / 10, "high": (parts[0] + parts[1] * parts[2]) / 10, "step": parts[2] / 10}
)
CHOICES = st.lists(TEXTS, min_size=1, max_size=4, unique=True).map(lambda values: {"choices": values})
ENTRIES = SCALARS | WHOLE_RANGES | FLOAT_RANGES | LOG_RANGES | POW2_RANGES | STEPPED_RANGES | CHOICES
LR_OPTIONS = st.fixed_dictionaries(
    {"from": st.floats(1e-9, 1e-3), "to": st.floats(1, 100)},
    optional={
        "training_steps": st.integers(1, 10**9),
        "repeats": st.integers(1, 100),
        "confirm": st.booleans() | st.just("full"),
        "per": st.just("optimizer"),
    },
)


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """A recipe as TOML reads it, with conditions and starting configurations that hold."""
    names = draw(st.lists(FREE_NAMES, max_size=6, unique=True))
    space: dict[str, Any] = {}
    for name in names:
        entry = draw(ENTRIES)
        conditions = [other for other, plain in space.items() if isinstance(plain, dict) and "choices" in plain]
        if isinstance(entry, dict) and conditions and draw(st.booleans()):
            other = draw(st.sampled_from(conditions))
            entry = {**entry, "when": {other: draw(st.sampled_from(space[other]["choices"]))}}
        space[name] = entry
    if draw(st.booleans()):
        space["lr"] = {"probe": "range_test", "per": "optimizer", "below": draw(st.floats(0.1, 8))}
    start = [
        {name: entry["choices"][-1] for name, entry in space.items() if isinstance(entry, dict) and "choices" in entry}
    ]
    has_conditions = any(isinstance(entry, dict) and "when" in entry for entry in space.values())
    return {
        "schema": 1,
        "name": draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)),
        "task": {
            "target": "mytask:task",
            "validation": {"kind": "holdout", "fraction": draw(st.floats(0.01, 0.99))},
            "objective": {
                "metric": draw(st.text(min_size=1, max_size=8).filter(partial(is_text, one_line=True))),
                "mode": draw(st.sampled_from(["max", "min"])),
            },
        },
        "space": space,
        "search": {"sampler": draw(st.sampled_from(["auto", "random", "tpe"])), "seed": draw(st.integers(0, 2**31))},
        "budget": {"trials": draw(st.integers(1, 10**6)), "epochs": draw(st.floats(0.1, 1e6)), "time": "1h30m"},
        "lr": draw(LR_OPTIONS),
        "start": [] if has_conditions else start,
    }


@settings(deadline=None, max_examples=60)
@given(recipes())
def test_a_dumped_recipe_loads_equal_in_the_same_order(plain: dict[str, Any]) -> None:
    recipe = parse_recipe(plain, where="drawn")
    again = parse_recipe(tomllib.loads(dump_recipe(recipe)), where="dumped")
    assert again == recipe
    assert list(again.space) == list(recipe.space) == list(plain["space"])
    assert repr(again) == repr(recipe)  # 1 and 1.0 and true are equal in Python and are not in a recipe
    assert recipe_hash(again) == recipe_hash(recipe)


def small(**changes: Any) -> Recipe:
    plain: dict[str, Any] = {
        "schema": 1,
        "name": "small",
        "task": {"target": "mytask:task", "objective": {"metric": "accuracy", "mode": "max"}},
        "space": {"width": {"low": 1, "high": 8}, "depth": 2},
        "budget": {"trials": 3},
    }
    return parse_recipe(plain | changes, where="small")


def test_the_hash_sees_what_a_recipe_says_and_not_how() -> None:
    assert recipe_hash(small()) == recipe_hash(small(search={"seed": 0, "scheduler": "auto"}))
    assert recipe_hash(small()) != recipe_hash(small(search={"seed": 1}))
    assert recipe_hash(small()) != recipe_hash(small(space={"depth": 2, "width": {"low": 1, "high": 8}}))
    assert recipe_hash(small()) != recipe_hash(small(space={"width": {"low": 1, "high": 8.0}, "depth": 2}))


def test_the_text_reads_like_a_recipe() -> None:
    text = dump_recipe(small(start=[{"width": 3}]))
    assert "[space]\nwidth = { low = 1, high = 8 }\ndepth = 2\n" in text
    assert text.startswith('schema = 1\nname = "small"\n')
    assert text.endswith("[[start]]\nwidth = 3\n")


def test_folds_shares_and_limits_load_back_as_they_were() -> None:
    content = {
        "schema": 1,
        "name": "example",
        "task": {
            "target": "a:b",
            "objective": {"metric": "loss", "mode": "min"},
            "validation": {"kind": "kfold"},
        },
        "space": {},
        "search": {
            "fidelity": {"unit": "data", "min": 0.25},
            "trial_time": 90,
            "patience": 3,
            "constraints": {"params": 1e6, "step_ms": 5, "memory": "4GiB"},
        },
        "budget": {"trials": 1},
    }
    recipe = parse_recipe(content, where="made")
    assert (recipe.task.validation.num_folds, recipe.task.validation.fraction) == (5, None)
    fidelity, search = recipe.search.fidelity, recipe.search
    assert (fidelity.lowest, fidelity.highest, fidelity.full_epochs) == (250, 1000, 10)
    assert (search.trial_seconds, search.on_oom, search.constraints.memory_bytes) == (90, "accumulate", 4 * 2**30)
    assert parse_recipe(tomllib.loads(dump_recipe(recipe)), where="dumped") == recipe


def recipe(space: dict[str, Any]) -> Recipe:
    content = {
        "schema": 1,
        "name": "made",
        "task": {"model": "mlp", "data": "digits", "objective": {"metric": "accuracy", "mode": "max"}},
        "space": space,
        "search": {"seed": 5, "sampler": "random"},
        "budget": {"epochs": 30},
        "start": [],
    }
    return parse_recipe(content, where="made")


def test_constants_are_the_configuration() -> None:
    assert fixed_params(recipe({"lr": 0.1, "optimizer": "sgd"})) == {"lr": 0.1, "optimizer": "sgd"}


def test_a_condition_on_a_constant_settles_what_depends_on_it() -> None:
    momentum = {"low": 0.5, "high": 0.9, "when": {"optimizer": "sgd"}}
    assert fixed_params(recipe({"optimizer": "adam", "momentum": momentum})) == {"optimizer": "adam"}


def test_what_is_left_to_search_is_named_with_what_to_do() -> None:
    with pytest.raises(RecipeError, match="leaves lr and width to search") as caught:
        fixed_params(recipe({"lr": {"probe": "range_test"}, "width": {"choices": [4, 8]}, "dropout": 0.1}))
    assert "--set space.lr=" in (caught.value.hint or "")


def test_a_winners_recipe_has_its_values_its_epochs_the_task_and_the_seed() -> None:
    found = recipe({"lr": {"low": 1e-4, "high": 1.0, "log": True}, "width": 8})
    text = dump_plain(fixed_plain(found.to_plain(), {"lr": 0.01, "width": 8}, epochs=21))
    fixed = parse_recipe(tomllib.loads(text), where="best.toml")
    assert fixed_params(fixed) == {"lr": 0.01, "width": 8}
    assert (fixed.task, fixed.search.seed, fixed.search.fidelity.max) == (found.task, 5, 21)
    assert fixed.search.scheduler == "none"


def test_a_winner_whose_length_was_searched_is_trained_for_its_best_number_of_epochs() -> None:
    found = recipe({"lr": {"low": 1e-4, "high": 1.0, "log": True}})
    plain = fixed_plain(found.to_plain(), {"lr": 0.01, "epochs": 5}, epochs=4)
    fixed = parse_recipe(
        tomllib.loads(dump_plain(plain, comments={"space.epochs": "searched: 2, 5"})), where="best.toml"
    )
    assert fixed_params(fixed) == {"lr": 0.01}
    assert fixed.longest_epochs == 4


def test_another_seed_changes_nothing_else() -> None:
    found = recipe({"lr": 0.1})
    changed = with_seed(found, 9)
    assert changed.search.seed == 9
    assert with_seed(changed, 5) == found


@given(st.text(), st.text())
def test_no_comment_breaks_the_file(head: str, beside: str) -> None:
    plain = {"schema": 1, "name": "x", "space": {"lr": 0.1, "width": 8}}
    text = f"{comment(head)}\n{dump_plain(plain, comments={'space.lr': beside})}"
    assert tomllib.loads(text.encode("utf-8", "backslashreplace").decode()) == plain
