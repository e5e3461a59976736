"""Values that no trial can have, and numbers beyond reason: `probe space` refuses each of them by its key, before PyTorch is
imported, and so does a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from probe.cli.main import run
from probe.errors import ProbeError, RecipeError, UsageError
from probe.recipe.load import load_recipe
from probe.search.checks import check_recipe
from probe.search.find import find_hyperparameters
from probe.search.schedulers.registry import choose_scheduler
from probe.search.space.configurations import grid_size, num_configurations
from probe.search.space.dimensions import expected_space

RECIPE = """
schema = 1
name = "x"
[task]
{task}
objective = {{ metric = "{metric}", mode = "max" }}
[space]
lr = {{ low = 1e-3, high = 1.0, log = true }}
{space}
[budget]
trials = 2
"""
TASKS = {
    "mlp": ('model = "mlp"\ndata = "digits"', "accuracy", ""),
    "cnn": ('model = "cnn"\ndata = "digits"', "accuracy", ""),
    "vgg11": ('model = "vgg11"\ndata = "digits"', "accuracy", ""),
    "text": ('model = "text-transformer"\ndata = "text:texts.jsonl"', "accuracy", "embedding = 16"),
    "lstm": ('model = "lstm"\ndata = "series:series.csv"', "rmse", ""),
    "own": ('target = "mytask:task"', "accuracy", "mine = 8"),
}
DIGITS, HEX = "1" * 5000, "0x" + "f" * 5000
NO_TRIAL: list[tuple[str, str, str]] = [
    # (task, change, what the error names)
    ("mlp", "space.depth=-1", "space.depth: .* 0 to 64, not -1"),
    ("mlp", "space.depth={low=1, high=1000}", "space.depth: .* not 1000"),
    ("mlp", "space.depth={low=1, high=3, step=0.5}", "space.depth: .* whole number .* not 1.0"),
    ("mlp", "space.depth=true", "space.depth: .* not True"),
    ("mlp", "space.depth=two", "space.depth: .* not 'two'"),
    ("mlp", "space.width={choices=[16, 0]}", "space.width: .* not 0"),
    ("mlp", "space.width={low=1, high=1048576, pow2=true}", "space.width: .* not 1048576"),
    ("mlp", "space.dropout=1000", "space.dropout: .* below 1, not 1000"),
    ("mlp", "space.dropout={low=0.0, high=1000.0}", "space.dropout: .* not 1000.0"),
    ("mlp", "space.dropout={low=0.0, high=1.5, when={width=8}}", "space.dropout"),
    ("mlp", "space.activation={choices=['relu', 'rely']}", "activation 'rely'.\nDid you mean relu"),
    ("mlp", "space.widht=8", "space.widht: .*\nDid you mean width"),
    ("mlp", "space.label_smoothing=1.0", "space.label_smoothing: .* not 1.0"),
    ("mlp", "space.loss=focall", "space.loss: .*\nDid you mean focal"),
    ("mlp", "space.augmentation=shift+shfit", "space.augmentation: .*'shfit'.\nDid you mean shift"),
    ("mlp", "space.optimizer={choices=['sgd', 'adma']}", "space.optimizer: .*\nDid you mean adam"),
    ("mlp", "space.lr_schedule=cosin", "space.lr_schedule: .*\nDid you mean cosine"),
    ("mlp", "space.precision=bf61", "space.precision: .*\nDid you mean bf16"),
    ("mlp", "space.batch_size={low=1, high=3, step=0.5}", "space.batch_size: .* not 1.0"),
    ("mlp", "space.gradient_accumulation=100", "space.gradient_accumulation: a batch of 64 .* 100 micro"),
    ("mlp", "task.data=cifar99", "task.data: .*\nDid you mean cifar10"),
    ("mlp", "task.data=csv:missing.csv", "task.data: .*missing.csv"),
    ("mlp", "task.data=cvs:series.csv", "task.data: .*\nDid you mean csv"),
    ("mlp", 'task.data="csv:a\\u0000b"', "task.data: "),
    ("mlp", "task.model=mpl", "task.model: .*\nDid you mean mlp"),
    ("mlp", "task.model=resnet19", "task.model: .*\nDid you mean resnet1"),
    ("mlp", "task.weights=missing.pt", "task.weights: .*missing.pt"),
    ("mlp", "task.objective.metric=acuracy", "task.objective.metric: .*\nDid you mean accuracy"),
    ("mlp", "batch.optimizer=adma", "batch.optimizer: "),
    ("mlp", "lr.optimizer=adma", "lr.optimizer: "),
    ("mlp", "batch.device=gpu", "batch.device: "),
    ("cnn", "space.kernel_size={low=1, high=7}", "space.kernel_size: .* not 2"),
    ("cnn", "space.layers={low=1, high=9}", "space.layers: .* not 9"),
    ("vgg11", "space.dropout=1.5", "space.dropout: .* not 1.5"),
    ("vgg11", "space.width=8", "space.width: Unknown hyperparameter of vgg11"),
    ("text", "space.heads=0", "space.heads: .* not 0"),
    ("text", "space.vocabulary={low=1, high=100000000000}", "space.vocabulary"),
    ("text", "space.layers=99", "space.layers"),
    ("lstm", "space.window=0", "space.window"),
    ("lstm", "space.residual=1", "space.residual: .* true or false"),
    ("lstm", "task.objective.metric=accuracy", "task.objective.metric: .*\nKnown: loss, mae, rmse"),
    ("own", "space.optimizer=adma", "space.optimizer: .*\nDid you mean adam"),
    ("own", "start=[{mine=9}]", r"start\[1\].mine"),
    # Numbers.
    ("own", "space.lr=1e999", "space.lr: .* Infinity"),
    ("own", "space.mine=1e200", r"space.mine: .* 1e\+30 in size, not 1e\+200"),
    ("own", f"space.mine={DIGITS}", "space.mine=111.*64 bits"),
    ("own", f"space.mine={HEX}", "space.mine=0xfff.* 20000 bits"),
    ("own", f"space.mine={{low=1, high={HEX}}}", "64 bits"),
    ("own", f"schema={HEX}", "64 bits"),
    ("own", "space.mine=99999999999999999999", "64 bits"),
    ("own", "space.mine={low=1, high=9007199254740993}", "space.mine: .*9,007,199,254,740,992"),
    ("own", "space.mine={low=0.0, high=0.5, steps=10000000}", "space.mine.steps: .*10000,"),
    ("own", "space.mine={low=0, high=1000000000, step=1}", "space.mine: step .*10,000 values"),
    ("own", "space.mine={low=0.0, high=0.5, step=1e-90}", "space.mine: step .*10,000 values"),
    ("own", "space.mine={choices=[" + ",".join(map(str, range(2000))) + "]}", "space.mine.choices: .*1000 entries"),
    ("own", "search.seed=18446744073709551616", "64 bits"),
    ("own", "search.fidelity={min=1, max=1000000000}", "search.fidelity.max: .*1,000,000"),
    ("own", "task.validation={kind='kfold', k=1000000000}", "task.validation.k"),
    ("own", "budget.trials=1000000000000000000000000000000", "64 bits"),
    ("own", "budget.trials=9000000000000000000", "budget.trials"),
    ("own", "budget.epochs=1e300", "budget.epochs"),
    ("own", "budget.time=999999999999999999999h", "budget.time: .*ten years"),
    ("own", "search.trial_time=1e300", "search.trial_time"),
    ("own", "batch.max=10000000000", "batch.max"),
    ("own", "batch.img=1000000000", "batch.img"),
    ("own", "lr.steps=1000000000000", "lr.steps"),
    ("own", "lr.repeats=1000000000", "lr.repeats"),
    ("own", "lr.to=1e300", "lr.to"),
    ("own", "lr.from=1e-320", "lr.from"),
    # Texts, names and shapes.
    ("own", "space." + "x" * 5000 + "=3", "at most 100"),
    ("own", 'space."a\\nb"=3', "letters, digits and underscores"),
    ("own", "space.mine='" + "y" * 50_000 + "'", "space.mine: .*1,000"),
    ("own", 'task.objective.metric="a\\u001b[31m"', r"task.objective.metric: .*\\x1b"),
    ("own", "space.mine=" + "[" * 3000 + "]" * 3000, "16 levels"),
    ("own", ".".join(["a"] * 50) + "=1", "16 levels"),
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.jsonl").write_text('{"text": "a", "label": "b"}\n')
    (tmp_path / "series.csv").write_text("a,b\n1,2\n")
    for name, (task, metric, space) in TASKS.items():
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(task=task, metric=metric, space=space))
    return tmp_path


def check(path: Path | str, *changes: str, tries: tuple[str, ...] = ()) -> None:
    recipe = load_recipe(path, overrides=changes, tries=tries)
    check_recipe(recipe)
    choose_scheduler(recipe)


@pytest.mark.parametrize("task", TASKS)
def test_the_recipes_that_are_changed_are_valid(task: str) -> None:
    check(f"{task}.toml")


@pytest.mark.parametrize(("task", "change", "message"), NO_TRIAL, ids=[f"{t}-{c[:40]}" for t, c, _ in NO_TRIAL])
def test_a_value_that_no_trial_can_have_is_refused(task: str, change: str, message: str) -> None:
    extra = ("space.width={choices=[8, 16]}",) if "when={width" in change else ()
    with pytest.raises(ProbeError, match=message) as caught:
        check(f"{task}.toml", *extra, change)
    assert caught.value.exit_code in (2, 3)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("given", ["lr=1e200", f"lr={DIGITS}", f"lr={HEX}", "lr=nan", "lr=-1"])
def test_a_configuration_to_try_is_checked(given: str) -> None:
    with pytest.raises(RecipeError, match="--try lr=") as caught:
        check("own.toml", "space.lr={probe='range_test'}", tries=(given,))
    assert len(str(caught.value)) < 1000


def test_a_start_is_checked_where_the_space_is_still_to_be_probed() -> None:
    with pytest.raises(RecipeError, match=r"batch_size .* not 4611686018427387904"):
        check("mlp.toml", "space.batch_size={probe='max_batch'}", f"start=[{{batch_size={2**62}}}]")


def test_momentum_of_an_optimizer_without_it_is_refused_before_the_data_are_loaded() -> None:
    with pytest.raises(RecipeError, match="adam has no momentum"):
        check("mlp.toml", "space.optimizer={choices=['sgd', 'adam']}", "space.momentum=0.9")


def test_hundreds_of_brackets_are_refused_and_asha_takes_any_rungs() -> None:
    rungs = "search.fidelity={min=1, max=1000000, factor=2}"
    check("own.toml", rungs)
    with pytest.raises(RecipeError, match=r"search.fidelity: with 21 rungs .*2,215,577 trials"):
        check("own.toml", rungs, "search.scheduler=hyperband")


SHAPES = {
    "a thousand dimensions": "".join(f"d{number} = {{ low = 0.0, high = 1.0 }}\n" for number in range(1000)),
    "lists in lists": f"y = {'[' * 5000}{']' * 5000}\n",
    "a key of many parts": f"y{'.a' * 50_000} = 1\n",
    "a long condition": f"p = {{ low = 0, high = 9 }}\nc = {{ low = 0.0, high = 1.0, when = {{ p = [{'1,' * 5000}] }} }}\n",
    "a large file": f"# {'x' * 300_000}\n",
    "no name": '"" = 3\n',
    "a long name": f"{'x' * 3000} = 3\n",
    "a name twice": "mine = 3\n",
    "a date": "y = 1979-05-27\n",
    "a date that does not exist": "y = 1979-02-30\n",
    "an integer that Python does not convert": f"y = {DIGITS}\n",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_of_an_impossible_shape_is_refused(here: Path, shape: str) -> None:
    text = (here / "own.toml").read_text()
    (here / "odd.toml").write_text(text.replace("mine =", f"{SHAPES[shape]}mine ="))
    with pytest.raises(RecipeError, match=r"odd\.toml") as caught:
        check("odd.toml")
    assert len(str(caught.value)) < 1000


def conditional(here: Path, text: str) -> Any:
    recipe = (here / "own.toml").read_text()
    (here / "odd.toml").write_text(recipe.replace("mine =", f"{text}mine ="))
    return expected_space(load_recipe("odd.toml", overrides=["space.lr=0.1"]))


def test_conditions_on_everything_above_are_counted() -> None:
    lines = ["p0 = { choices = [1, 2] }"]
    for number in range(1, 60):
        when = ", ".join(f"p{earlier} = 1" for earlier in range(number))
        lines.append(f"p{number} = {{ choices = [1, 2], when = {{ {when} }} }}")
    space = conditional(Path(), "\n".join(lines) + "\n")
    assert grid_size(space) == num_configurations(space) == 61


def test_a_condition_on_a_trillion_combinations_has_an_upper_bound() -> None:
    lines = [f"p{number} = {{ choices = [{', '.join(map(str, range(10)))}] }}" for number in range(12)]
    when = ", ".join(f"p{number} = 1" for number in range(12))
    space = conditional(Path(), "\n".join([*lines, f"c = {{ choices = [1, 2], when = {{ {when} }} }}"]) + "\n")
    assert num_configurations(space) is None
    assert 10**12 + 1 <= grid_size(space) <= 2 * 10**12


OPTIONS = [
    ("search", "--workers", "1000000000"),
    ("search", "--workers", DIGITS),
    ("search", "--seed", DIGITS),
    ("search", "--trials", "1" + "0" * 30),
    ("search", "--epochs", "1e400"),
    ("search", "--time", "9e99h"),
    ("search", "--ray", "local:1000000000"),
    ("lr", "--batch", f"1,{DIGITS}"),
    ("lr", "--steps", "1000000000000"),
    ("lr", "--repeats", "1000000000"),
    ("lr", "--training-steps", "10000000000000"),
    ("lr", "--from", "1e-320"),
    ("lr", "--to", "1e300"),
    ("batch", "--max", "99999999999"),
    ("batch", "--start", str(2**63 - 1)),
    ("batch", "--confirm-steps", "1000000000000"),
    ("train", "--epochs", "99999999999999"),
]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: f"{option[0]}{option[1]}={option[2][:20]}")
def test_an_option_out_of_range_is_refused_before_anything_is_written(
    option: tuple[str, str, str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, flag, value = option
    assert run([command, "mlp.toml", flag, value]) == 2
    err = capsys.readouterr().err
    assert "Error: " in err
    assert "bug" not in err
    assert len(err) < 1000
    assert not (here / "reports").exists()


def test_a_search_refuses_them_too_and_an_impossible_number_of_workers() -> None:
    with pytest.raises(RecipeError, match=r"space.depth: .* not -1"):
        find_hyperparameters("mlp.toml", overrides=["space.depth=-1"])
    with pytest.raises(UsageError, match=r"workers .* from 1 to 1,024, not 1000000000"):
        find_hyperparameters("mlp.toml", num_workers=10**9)
