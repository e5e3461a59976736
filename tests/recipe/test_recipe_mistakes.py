"""Every rule of the schema, broken once: the sentence names the key, the value given and close matches."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe_texts import RECIPE, message
from syrupy.assertion import SnapshotAssertion

from probe.recipe.load import load_recipe

MISTAKES: dict[str, tuple[str, ...]] = {
    # Names and types.
    "nam=1": ("nam:", "name?"),
    "search.seeds=1": ("search.seeds:", "seed?"),
    "search.zzz=1": ("search.zzz:",),
    "space.lr.belo=2": ("space.lr.belo:", "below?"),
    "lr.form=1": ("lr.form:", "from?"),
    "name=a b": ("name:", 'not "a b"'),
    "search.seed=1.5": ("search.seed:", "not 1.5"),
    "search.seed=true": ("search.seed:", "not true"),
    "search.seed=one": ("search.seed:", 'not "one"'),
    "search.seed=-1": ("search.seed:", "not -1"),
    "search=3": ("search:", "not 3"),
    "space=3": ("space:", "not 3"),
    "start=3": ("start:", "not 3"),
    "task.data=2": ("task.data:", "not 2"),
    "schema=one": ("schema:", 'not "one"'),
    # What this version does not do.
    "search.sampler=annealing": ("search.sampler:", 'not "annealing"'),
    "search.sampler=cmaes": ("search.sampler:", "cma-es?", 'not "cmaes"'),
    "search.scheduler=sha": ("search.scheduler:", "asha?", 'not "sha"'),
    "search.scheduler=hyperbnd": ("search.scheduler:", "hyperband?", 'not "hyperbnd"'),
    "task.validation.kind=k-fold": ("task.validation.kind:", "kfold?", 'not "k-fold"'),
    "search.fidelity.unit=steps": ("search.fidelity.unit:", 'not "steps"'),
    'task.objective=[{metric="a", mode="max"}, {metric="loss", mode="min"}]': ("task.objective:",),
    # The task.
    "task.target=mytask": ("task.target:", 'not "mytask"'),
    "task.target=a:b": ("task:",),
    'task={model="cnn", objective={metric="a", mode="max"}}': ("task:",),
    "task.validation.fraction=1.0": ("task.validation.fraction:", "not 1.0"),
    "task.validation=3": ("task.validation:", "not 3"),
    "task.validation.k=3": ("task.validation.k:", 'not "holdout"'),
    'task.validation={kind="kfold", fraction=0.2}': ("task.validation.fraction:", 'not "kfold"'),
    'task.validation={kind="kfold", k=1}': ("task.validation.k:", "not 1"),
    'task.validation={kind="kfold", folds=3}': ("task.validation.folds:",),
    'task.objective={metric="a"}': ("task.objective.mode is missing",),
    "task.objective.mode=maximum": ("task.objective.mode:", "max?", 'not "maximum"'),
    # Ranges.
    "space.layers={low=4}": ("space.layers:",),
    "space.layers={low=4, high=1}": ("space.layers:", "not 4"),
    "space.layers={low=4, high=4}": ("space.layers:", "not 4"),
    "space.layers.low=one": ("space.layers.low:", 'not "one"'),
    "space.layers.high=inf": ("space.layers.high:", "not Infinity"),
    "space.l1={low=0, high=1.0, log=true}": ("space.l1:", "not 0"),
    "space.width.low=6": ("space.width:", "not 6"),
    "space.width.high=20.0": ("space.width:", "not 20.0"),
    "space.width.log=true": ("space.width:",),
    "space.width.pow2=yes": ("space.width.pow2:", 'not "yes"'),
    "space.layers.steps=1": ("space.layers.steps:", "not 1"),
    "space.lr.steps=2.5": ("space.lr.steps:", "not 2.5"),
    "space.optimizer.steps=2": ("space.optimizer.steps:",),
    "space.layers={low=1, high=4, step=2}": ("space.layers:", "not 4"),
    "space.layers={low=1, high=4, step=0}": ("space.layers:", "not 0"),
    "space.layers={low=1, high=4, step=true}": ("space.layers.step:", "not true"),
    "space.layers={low=1, high=4, step=1, log=true}": ("space.layers:",),
    "space.width.step=8": ("space.width:",),
    "space.layers={low=1, high=4, step=1, steps=2}": ("space.layers:",),
    # Choices, constants and probes.
    "space.optimizer.choices=[]": ("space.optimizer:", "not be"),
    "space.optimizer.choices=sgd": ("space.optimizer.choices:", 'not "sgd"'),
    'space.layers={choices=[1, "1", 1.0]}': ("space.layers:",),
    "space.layers={choices=[[1]]}": ("space.layers.choices:", "not [1]"),
    "space.layers={choices=[2020-01-01]}": ("space.layers.choices[1]:", "not 2020-01-01"),
    "space.dropout=nan": ("space.dropout:", "not NaN"),
    "space.dropout=[0.1]": ("space.dropout:", "not [0.1]"),
    "space.dropout=2020-01-01": ("space.dropout:", "not 2020-01-01"),
    "space.lr.probe=max_lr": ("space.lr.probe:", 'not "max_lr"'),
    "space.lr.probe=[1]": ("space.lr.probe:", "not [1]"),
    "space.lr.per=model": ("space.lr.per:", 'not "model"'),
    'space.width={probe="range_test"}': ("space.width:",),
    'space.lr={probe="max_batch"}': ("space.lr:",),
    "space.batch_size.max=0": ("space.batch_size.max:", "not 0"),
    "space.lr={probe='range_test', below=0, above=0}": ("space.lr:",),
    "space.lr.below=9": ("space.lr.below:", "not 9"),
    # The trainer's own names.
    "space.batch_size=2.5": ("space.batch_size:", "not 2.5"),
    "space.lr=0": ("space.lr:", "not 0"),
    "space.momentum.high=1.0": ("space.momentum:", "not 1.0"),
    "space.weight_decay=-0.1": ("space.weight_decay:", "not -0.1"),
    "space.decoupled=1": ("space.decoupled:", "not 1"),
    "space.optimizer=3": ("space.optimizer:", "not 3"),
    "space.epochs=3": ("space.epochs:",),
    "space.epochs={choices=[5, 0]}": ("space.epochs:", "not 0"),
    "space.a-b=3": ("space.a-b:",),
    # Conditions.
    'space.momentum.when={optimizer="adamm"}': ("space.momentum.when.optimizer:", 'not "adamm"'),
    'space.momentum.when={optimiser="sgd"}': ("space.momentum.when:", "optimizer?"),
    "space.momentum.when={dropout=0.2, width=8}": ("space.momentum.when:",),
    "space.width.when={layers=9}": ("space.width.when.layers:", "not 9"),
    "space.width.when={layers=2020-01-01}": ("space.width.when.layers:", "not 2020-01-01"),
    "space.momentum.when={}": ("space.momentum.when:", "not be"),
    # Search and budget.
    "search.sampler=qmc": ("search.sampler:",),
    "search.fidelity.min=99": ("search.fidelity:", "not 99"),
    "search.fidelity.max=2.5": ("search.fidelity.max:", "not 2.5"),
    "search.fidelity.min=0": ("search.fidelity.min:", "not 0"),
    "search.fidelity.epochs=5": ("search.fidelity.epochs:",),
    'search.fidelity={unit="data", max=27}': ("search.fidelity.max:", "not 27"),
    'search.fidelity={unit="data", min=0.5, max=0.2}': ("search.fidelity:", "not 0.5"),
    "search.on_oom=halve": ("search.on_oom:", 'not "halve"'),
    "search.trial_time=0": ("search.trial_time:", 'not "0s"'),
    "search.patience=0": ("search.patience:", "not 0"),
    "search.constraints.params=0": ("search.constraints.params:", "not 0"),
    "search.constraints.step_ms=fast": ("search.constraints.step_ms:", 'not "fast"'),
    "search.constraints.memory=4 cats": ("search.constraints.memory:", 'not "4 cats"'),
    "search.constraints.parms=1": ("search.constraints.parms:", "params?"),
    "search.fidelity.factor=1": ("search.fidelity.factor:", "not 1"),
    "budget={}": ("budget:",),
    "budget.trials=0": ("budget.trials:", "not 0"),
    "budget.epochs=0": ("budget.epochs:", "not 0"),
    "budget.epochs=inf": ("budget.epochs:", "not Infinity"),
    "budget.time=0": ("budget.time:", 'not "0s"'),
    "budget.time=soon": ("budget.time:", 'not "soon"'),
    # Options of the probes.
    "batch.memory=much": ("batch.memory:", 'not "much"'),
    "batch.precision=fp8": ("batch.precision:", 'not "fp8"'),
    "lr={from=1, to=0.1}": ("lr:", "not 1.0"),
    "lr.steps=1": ("lr.steps:", "not 1"),
    "lr.training_steps=0": ("lr.training_steps:", "not 0"),
    "lr.repeats=0": ("lr.repeats:", "not 0"),
    "lr.confirm=maybe": ("lr.confirm:", 'not "maybe"'),
    "lr.confirm=1": ("lr.confirm:", "not 1"),
    "lr.per=model": ("lr.per:", 'not "model"'),
    # Starting configurations.
    "start=[{lr=-1}]": ("start[1].lr:", "not -1"),
    "start=[{}, {width=9}]": ("start[2].width:", "not 9"),
    "start=[{layers=2.0}]": ("start[1].layers:", "not 2.0"),
    "start=[{batch_size=128}]": ("start[1].batch_size:", "not 128"),
    'start=[{optimizer="lion"}]': ("start[1].optimizer:", 'not "lion"'),
    "start=[{widht=8}]": ("start[1].widht:", "width?"),
    "start=[{dropout=0.2}]": ("start[1].dropout:", "not 0.2"),
    "start=[{momentum=0.9}]": ("start[1].momentum:",),
    "start=[{lr=[1]}]": ("start[1].lr:", "not [1]"),
}


@pytest.mark.parametrize("override", MISTAKES)
def test_mistake(tmp_path: Path, override: str) -> None:
    path = tmp_path / "example.toml"
    path.write_text(RECIPE)
    said = message(path, override)
    key, *facts = MISTAKES[override]
    assert said.startswith(key)
    assert [fact for fact in facts if fact not in said] == []


def test_wording(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    path = tmp_path / "example.toml"
    path.write_text(RECIPE)
    assert "\n".join(message(path, override) for override in MISTAKES) == snapshot


@pytest.mark.parametrize("scheduler", ["asha", "halving", "hyperband"])
def test_a_scheduler_and_searched_lengths_contradict_each_other(tmp_path: Path, scheduler: str) -> None:
    path = tmp_path / "example.toml"
    path.write_text(RECIPE)
    said = message(path, f"search.scheduler={scheduler}", "space.epochs={choices=[5, 10]}")
    assert said.startswith(f'search.scheduler: must be "none" or "auto" with space.epochs, not "{scheduler}"')
    recipe = load_recipe(path, overrides=["space.epochs={choices=[5, 10]}"])
    assert recipe.search.scheduler == "auto"
