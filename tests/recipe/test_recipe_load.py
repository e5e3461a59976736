from __future__ import annotations

from pathlib import Path

import pytest
from recipe_texts import RECIPE, message

from probe.errors import RecipeError
from probe.recipe.checks import RENAMED_KEYS
from probe.recipe.load import MAX_MISTAKES, load_recipe, parse_recipe
from probe.recipe.schema import Recipe
from probe.recipe.space import Choices, Constant, ProbedBatch, ProbedLr, Range


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "example.toml"
    path.write_text(RECIPE)
    return path


def test_entries_keep_the_order_of_the_file_and_their_kinds(path: Path) -> None:
    recipe = load_recipe(path)
    assert list(recipe.space) == ["batch_size", "optimizer", "lr", "momentum", "layers", "width", "dropout"]
    kinds = [type(entry) for entry in recipe.space.values()]
    assert kinds == [ProbedBatch, Choices, ProbedLr, Range, Range, Range, Constant]
    ranges = [entry.kind for entry in recipe.space.values() if isinstance(entry, Range)]
    assert ranges == ["float", "int", "pow2"]
    assert list(recipe.searched) == list(recipe.space)[:-1]
    assert recipe.constants == {"dropout": 0.1}


def test_defaults(path: Path) -> None:
    recipe = load_recipe(path)
    assert (recipe.search.sampler, recipe.search.scheduler, recipe.search.seed) == ("auto", "auto", 0)
    assert (recipe.search.fidelity.min, recipe.search.fidelity.factor) == (None, None)
    assert recipe.task.validation.fraction == 0.2
    assert recipe.task.objective.reduce == "best"
    assert recipe.budget.time_seconds is None
    lr = recipe.space["lr"]
    assert isinstance(lr, ProbedLr)
    assert (lr.below, lr.above) == (1.5, 0.5)


def test_a_single_probe_trains_the_constants_and_the_first_choices(path: Path) -> None:
    recipe = load_recipe(path, overrides=['space.nesterov={choices=[true], when={optimizer="adam"}}'])
    assert recipe.first_values == {"optimizer": "sgd", "dropout": 0.1}


def test_recipes_are_frozen(path: Path) -> None:
    recipe = load_recipe(path)
    with pytest.raises(ValueError, match="frozen"):
        recipe.search.seed = 3


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("search.seed=1", 1),
        ("search.sampler=random", "random"),
        ('search.sampler="random"', "random"),
        ("search.fidelity.max=81", 81),
        ("budget.time=1h30m", 5400.0),
        ("budget.time=90", 90.0),
        ("budget.time=none", None),
        ("budget.epochs=.5", 0.5),
        ("lr.to=1.", 1.0),
        ("lr.training_steps=5000", 5000),
        ("lr.repeats=3", 3),
        ("lr.confirm=true", True),
        ("lr.confirm=full", "full"),
        ("lr.per=optimizer", "optimizer"),
        ("batch.memory=8GiB", "8GiB"),
        ("task.validation.fraction = 0.25", 0.25),
    ],
)
def test_overrides(path: Path, override: str, value: object) -> None:
    recipe = load_recipe(path, overrides=[override])
    found = {
        "search.seed": recipe.search.seed,
        "search.sampler": recipe.search.sampler,
        "search.fidelity.max": recipe.search.fidelity.max,
        "budget.time": recipe.budget.time_seconds,
        "budget.epochs": recipe.budget.epochs,
        "lr.to": recipe.lr.highest,
        "lr.training_steps": recipe.lr.training_steps,
        "lr.repeats": recipe.lr.repeats,
        "lr.confirm": recipe.lr.confirm,
        "lr.per": recipe.lr.per,
        "batch.memory": recipe.batch.memory,
        "task.validation.fraction": recipe.task.validation.fraction,
    }[override.partition("=")[0].strip()]
    assert found == value


def test_overrides_may_write_whole_tables_and_the_last_one_wins(path: Path) -> None:
    recipe = load_recipe(path, overrides=["space.lr={low=1e-4, high=1e-1, log=true}", "space.lr.high=1.0"])
    assert recipe.space["lr"] == Range(low=1e-4, high=1.0, log=True)


@pytest.mark.parametrize("override", ["search.seed", "=1", "search.=1", "search.seed=", ".seed=1"])
def test_an_override_without_key_or_value(path: Path, override: str) -> None:
    assert message(path, override).startswith(f"'{override}' does not set a key of the recipe.")


def test_an_override_into_a_plain_value(path: Path) -> None:
    assert "space.dropout is not a table" in message(path, "space.dropout.low=1")


def test_an_override_with_broken_toml(path: Path) -> None:
    assert "'space.lr={low=}': the value is not valid TOML: Invalid value" in message(path, "space.lr={low=}")


def test_a_fixed_optimizer_settles_conditions(path: Path) -> None:
    adam = load_recipe(path, overrides=["space.optimizer=adam"])
    assert "momentum" not in adam.space
    sgd = load_recipe(path, overrides=["space.optimizer=sgd"])
    assert sgd.space["momentum"] == Range(low=0.5, high=0.99)


def test_a_missing_file_names_similar_ones(path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path.with_name("exmple.toml"))
    assert str(caught.value) == f"There is no recipe {path.with_name('exmple.toml')}.\nDid you mean {path}?"


def test_a_missing_file_without_suffix_and_a_missing_folder(path: Path) -> None:
    with pytest.raises(RecipeError, match=r"Did you mean .*example\.toml\?"):
        load_recipe(path.with_name("example"))
    with pytest.raises(RecipeError, match="There is no folder"):
        load_recipe(path.parent / "nowhere" / "example.toml")
    with pytest.raises(RecipeError, match=r"Recipes in .*: example\.toml\."):
        load_recipe(path.with_name("zzz.toml"))


def test_a_folder(path: Path) -> None:
    with pytest.raises(RecipeError, match=r"is a folder, not a recipe.\nRecipes in it: example.toml"):
        load_recipe(path.parent)


def test_text_that_is_not_utf8(path: Path) -> None:
    path.write_bytes(b'schema = 1\nname = "caf\xe9"\n')
    with pytest.raises(RecipeError, match=r"line 2 is not UTF-8 text"):
        load_recipe(path)


def test_a_toml_syntax_error_names_its_line_and_shows_it(path: Path) -> None:
    path.write_text(RECIPE.replace("trials = 4", "trials = four"))
    said = message(path)
    line = RECIPE.splitlines().index("trials = 4") + 1
    assert f", line {line}, column 10: not valid TOML: Invalid value.\ntrials = four" in said


def test_a_toml_syntax_error_at_the_end(path: Path) -> None:
    path.write_text(RECIPE + '\nname = "')
    assert "is not valid TOML" in message(path) or "not valid TOML" in message(path)


def test_a_key_given_twice(path: Path) -> None:
    path.write_text(RECIPE + "trials = 5\n")
    assert "not valid TOML: Cannot overwrite a value" in message(path)


def test_a_newer_schema_is_the_only_thing_said(path: Path) -> None:
    said = message(path, "schema=2", "nonsense=1")
    assert said.startswith("schema 2 is not supported; this version of probe reads schema 1.")
    assert "nonsense" not in said


def test_several_mistakes_are_told_at_once_one_a_line(path: Path) -> None:
    said = message(path, "search.seed=-1", "budget.trials=0", "nam=1")
    lines = said.splitlines()
    assert lines[0].endswith("has 3 mistakes:")
    assert len(lines) == 4


def test_more_mistakes_than_are_told_are_counted(path: Path) -> None:
    said = message(path, *(f"key{number}=1" for number in range(MAX_MISTAKES + 3)))
    assert said.splitlines()[-1] == "  and 3 more."
    assert len(said.splitlines()) == MAX_MISTAKES + 2


def test_an_empty_recipe_asks_for_everything_that_is_needed() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({}, where="nothing.toml")
    for key in ("schema", "name", "task", "space", "budget"):
        assert f"  {key} is missing" in str(caught.value)


def test_a_target_stands_for_model_and_data(path: Path) -> None:
    text = RECIPE.replace('model = "cnn"\ndata = "digits"', 'target = "mytask:task"')
    path.write_text(text)
    assert load_recipe(path).task.target == "mytask:task"


def test_parse_and_load_agree(path: Path) -> None:
    import tomllib

    assert parse_recipe(tomllib.loads(RECIPE), where="text") == load_recipe(path)
    assert isinstance(load_recipe(path), Recipe)


@pytest.mark.parametrize(("old", "new"), RENAMED_KEYS.items())
def test_an_old_key_names_the_new_one(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "example.toml"
    path.write_text(RECIPE)
    said = message(path, f"{old}=1")
    assert said.startswith(f"{old}:")
    assert new in said


def test_a_task_of_the_users_own_may_have_hyperparameters_with_old_names(tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    path.write_text(RECIPE)
    recipe = load_recipe(path, overrides=["space.schedule=linear"], target="mytask:task")
    assert recipe.constants["schedule"] == "linear"


def test_a_starting_configuration_may_repeat_constants_and_must_be_on_the_steps(path: Path) -> None:
    stepped = "space.width={low=2, high=10, step=4}"
    recipe = load_recipe(path, overrides=[stepped, "start=[{dropout=0.1, width=6}]"])
    assert recipe.start == ({"dropout": 0.1, "width": 6},)
    assert message(path, stepped, "start=[{width=8}]").startswith("start[1].width:")


def test_a_file_that_the_system_refuses_to_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"Could not read .*xxx\.toml: File name too long"):
        load_recipe(tmp_path / f"{300 * 'x'}.toml")
