"""Every rule of the schema, broken once: the sentence names the key, the rule and the value."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe_texts import RECIPE, message

from probe.recipe.load import load_recipe

MISTAKES = {
    # Names and types.
    "nam=1": "nam: there is no such key in a recipe; did you mean name?",
    "search.seeds=1": "search.seeds: there is no such key in [search]; did you mean seed?",
    "search.zzz=1": "search.zzz: there is no such key in [search]; known: sampler, scheduler, seed, fidelity, "
    "on_oom, trial_time, patience, constraints, refine.",
    "space.lr.belo=2": "space.lr.belo: there is no such key in space.lr; did you mean below?",
    "lr.form=1": "lr.form: there is no such key in [lr]; did you mean from?",
    "name=a b": "name: must be letters, digits, dots, dashes and underscores, the first a letter or a digit, "
    'not "a b".',
    "search.seed=1.5": "search.seed: must be a whole number, not 1.5.",
    "search.seed=true": "search.seed: must be a whole number, not true.",
    "search.seed=one": 'search.seed: must be a whole number, not "one".',
    "search.seed=-1": "search.seed: must be at least 0, not -1.",
    "search=3": "search: must be a table, not 3.",
    "space=3": "space: must be a table, not 3.",
    "start=3": "start: must be a list, not 3.",
    "task.data=2": "task.data: must be text in quotes, not 2.",
    "schema=one": 'schema: must be 1, not "one".',
    # What this version does not do.
    "search.sampler=annealing": "search.sampler: must be one of auto, tpe, random, grid, gp, cma-es, evolutionary, qmc, "
    'not "annealing".',
    "search.sampler=cmaes": "search.sampler: must be one of auto, tpe, random, grid, gp, cma-es, evolutionary, qmc, "
    'not "cmaes"; did you mean cma-es?',
    "search.scheduler=sha": "search.scheduler: must be one of auto, none, halving, asha, hyperband, "
    'not "sha"; did you mean asha?',
    "search.scheduler=hyperbnd": 'search.scheduler: must be one of auto, none, halving, asha, hyperband, not "hyperbnd"; '
    "did you mean hyperband?",
    "task.validation.kind=k-fold": 'task.validation.kind: must be one of holdout, kfold, not "k-fold"; did you mean kfold?',
    "search.fidelity.unit=steps": 'search.fidelity.unit: must be one of epochs, data, not "steps".',
    'task.objective=[{metric="a", mode="max"}, {metric="loss", mode="min"}]': "task.objective: must be one table, not a "
    "list of 2: ladders and samplers rank trials by one number; search once for each objective, or give the task a metric "
    "that weighs them.",
    # The task.
    "task.target=mytask": 'task.target: must be module:callable, not "mytask".',
    "task.target=a:b": "task: target stands alone; it cannot be combined with model and data.",
    'task={model="cnn", objective={metric="a", mode="max"}}': "task: data is missing.",
    "task.validation.fraction=1.0": "task.validation.fraction: must be below 1, not 1.0.",
    "task.validation.k=3": 'task.validation.k: belongs to kind = "kfold", not "holdout".',
    'task.validation={kind="kfold", fraction=0.2}': 'task.validation.fraction: belongs to kind = "holdout", not "kfold".',
    'task.validation={kind="kfold", k=1}': "task.validation.k: must be at least 2, not 1.",
    'task.validation={kind="kfold", folds=3}': "task.validation.folds: there is no such key in task.validation; "
    "known: kind, fraction, k.",
    'task.objective={metric="a"}': 'task.objective.mode is missing: write "max" or "min"; it is never guessed.',
    "task.objective.mode=maximum": 'task.objective.mode: must be one of max, min, not "maximum"; did you mean max?',
    # Ranges.
    "space.layers={low=4}": "space.layers: a table here needs low and high, or choices, or probe.",
    "space.layers={low=4, high=1}": "space.layers: low must be below high, not 4 to 1.",
    "space.layers={low=4, high=4}": "space.layers: low must be below high, not 4 to 4.",
    "space.layers.low=one": 'space.layers.low: must be a finite number, not "one".',
    "space.layers.high=inf": "space.layers.high: must be a finite number, not Infinity.",
    "space.l1={low=0, high=1.0, log=true}": "space.l1: log = true needs a low above 0, not 0.",
    "space.width.low=6": "space.width: pow2 = true needs powers of two as ends; low is 6, the nearest are 4 or 8.",
    "space.width.high=20.0": "space.width: pow2 = true needs powers of two as ends; high is 20.0, "
    "the nearest are 16 or 32.",
    "space.width.log=true": "space.width: takes pow2 or log, not both: powers of two are evenly spaced in the "
    "logarithm already.",
    "space.width.pow2=yes": 'space.width.pow2: must be true or false, not "yes".',
    "space.layers.steps=1": "space.layers.steps: must be at least 2, not 1.",
    "space.lr.steps=2.5": "space.lr.steps: must be a whole number, not 2.5.",
    "space.optimizer.steps=2": "space.optimizer.steps: there is no such key in space.optimizer; known: choices, when.",
    "space.layers={low=1, high=4, step=2}": "space.layers: high must be low plus a whole number of steps of 2, not 4; near "
    "it lie 3 and 5.",
    "space.layers={low=1, high=4, step=0}": "space.layers: step must be above 0, not 0.",
    "space.layers={low=1, high=4, step=true}": "space.layers.step: must be a finite number, not true.",
    "space.layers={low=1, high=4, step=1, log=true}": "space.layers: takes step or log, not both: steps are evenly spaced "
    "between low and high.",
    "space.width.step=8": "space.width: takes step or pow2, not both: steps are evenly spaced between low and high.",
    "space.layers={low=1, high=4, step=1, steps=2}": "space.layers: takes step or steps, not both: a grid takes every value "
    "of it.",
    # Choices, constants and probes.
    "space.optimizer.choices=[]": "space.optimizer: choices must not be empty.",
    "space.optimizer.choices=sgd": 'space.optimizer.choices: must be a list, not "sgd".',
    'space.layers={choices=[1, "1", 1.0]}': "space.layers: choices holds 1.0 twice.",
    "space.layers={choices=[[1]]}": "space.layers.choices: a choice is text, a number, true or false, not [1]; name each "
    'choice, like choices = ["none", "small"], and look its value up in the task: {"none": None, "small": [32, 32]}[name].',
    "space.layers={choices=[2020-01-01]}": "space.layers.choices[1]: must be text, a number, true or false, not 2020-01-01.",
    "space.dropout=nan": "space.dropout: must be a finite number, not NaN.",
    "space.dropout=[0.1]": "space.dropout: must be text, a number, true or false, not [0.1].",
    "space.dropout=2020-01-01": "space.dropout: must be text, a number, true or false, not 2020-01-01.",
    "space.lr.probe=max_lr": 'space.lr.probe: must be "max_batch" (for batch_size) or "range_test" (for lr), '
    'not "max_lr".',
    "space.lr.probe=[1]": 'space.lr.probe: must be "max_batch" (for batch_size) or "range_test" (for lr), not [1].',
    "space.lr.per=model": 'space.lr.per: must be optimizer, not "model".',
    'space.width={probe="range_test"}': 'space.width: probe = "range_test" is for lr only.',
    'space.lr={probe="max_batch"}': 'space.lr: probe = "max_batch" is for batch_size only.',
    "space.batch_size.max=0": "space.batch_size.max: must be at least 1, not 0.",
    "space.lr={probe='range_test', below=0, above=0}": "space.lr: below and above are both 0, which leaves nothing "
    "to search.",
    "space.lr.below=9": "space.lr.below: must be at most 8, not 9.",
    # The trainer's own names.
    "space.batch_size=2.5": "space.batch_size: must be a whole number of at least 1, not 2.5.",
    "space.lr=0": "space.lr: must be a number above 0, not 0.",
    "space.momentum.high=1.0": "space.momentum: must be a number from 0 to below 1, not 1.0.",
    "space.weight_decay=-0.1": "space.weight_decay: must be a number of at least 0, not -0.1.",
    "space.decoupled=1": "space.decoupled: must be true or false, not 1.",
    "space.optimizer=3": "space.optimizer: must be the name of an optimizer, not 3.",
    "space.epochs=3": "space.epochs: is searched as choices without a condition, like { choices = [5, 10, 20] }; "
    "one length for all trials is search.fidelity.max, or search.fidelity.epochs where the unit is data.",
    "space.epochs={choices=[5, 0]}": "space.epochs: must be a whole number of at least 1, not 0.",
    "space.a-b=3": "space.a-b: a hyperparameter's name is letters, digits and underscores.",
    # Conditions.
    'space.momentum.when={optimizer="adamm"}': 'space.momentum.when.optimizer: must be one of "sgd", "adam", '
    'not "adamm".',
    'space.momentum.when={optimiser="sgd"}': "space.momentum.when: there is no hyperparameter optimiser above "
    "momentum; did you mean optimizer?",
    "space.momentum.when={dropout=0.2, width=8}": "space.momentum.when: dropout must stand above momentum in the space.",
    "space.width.when={layers=9}": "space.width.when.layers: must be a whole number from 1 to 4, not 9.",
    "space.momentum.when={}": "space.momentum.when: must not be empty, not {}.",
    # Search and budget.
    "search.sampler=qmc": "search.sampler: qmc needs a space in which everything always exists, and momentum does not "
    "(when); drop the condition, or take another sampler, like gp or tpe.",
    "search.fidelity.min=99": "search.fidelity: min must be at most max, not 99 to 27.",
    "search.fidelity.max=2.5": "search.fidelity.max: must be a whole number, not 2.5.",
    "search.fidelity.min=0": "search.fidelity.min: must be at least 1, not 0.",
    "search.fidelity.epochs=5": 'search.fidelity.epochs: belongs to unit = "data"; with unit = "epochs" write max.',
    'search.fidelity={unit="data", max=27}': "search.fidelity.max: must be a share of the training data from 0.001 to 1, "
    "not 27.",
    'search.fidelity={unit="data", min=0.5, max=0.2}': "search.fidelity: min must be at most max, not 0.5 to 0.2.",
    "search.on_oom=halve": 'search.on_oom: must be one of accumulate, infeasible, not "halve".',
    "search.trial_time=0": 'search.trial_time: must be a duration above zero like 90s, 2m or 1h30m, not "0s".',
    "search.patience=0": "search.patience: must be at least 1, not 0.",
    "search.constraints.params=0": "search.constraints.params: must be a number above 0, not 0.",
    "search.constraints.step_ms=fast": 'search.constraints.step_ms: must be a finite number, not "fast".',
    "search.constraints.memory=4 cats": "search.constraints.memory: must be an amount of memory like 512MiB or 8GiB, "
    'not "4 cats".',
    "search.constraints.parms=1": "search.constraints.parms: there is no such key in search.constraints; did you mean params?",
    "search.fidelity.factor=1": "search.fidelity.factor: must be at least 2, not 1.",
    "budget={}": "budget: needs at least one of trials, epochs, time.",
    "budget.trials=0": "budget.trials: must be at least 1, not 0.",
    "budget.epochs=0": "budget.epochs: must be above 0, not 0.",
    "budget.epochs=inf": "budget.epochs: must be a finite number, not Infinity.",
    "budget.time=0": 'budget.time: must be a duration above zero like 90s, 2m or 1h30m, not "0s".',
    "budget.time=soon": 'budget.time: must be a duration above zero like 90s, 2m or 1h30m, not "soon".',
    # Options of the probes.
    "batch.memory=much": 'batch.memory: must be an amount of memory like 512MiB or 8GiB, not "much".',
    "batch.precision=fp8": 'batch.precision: must be one of fp32, tf32, bf16, fp16, not "fp8".',
    "lr={from=1, to=0.1}": "lr: from must be below to, not 1.0 to 0.1.",
    "lr.steps=1": "lr.steps: must be at least 2, not 1.",
    "lr.training_steps=0": "lr.training_steps: must be at least 1, not 0.",
    "lr.repeats=0": "lr.repeats: must be at least 1, not 0.",
    "lr.confirm=maybe": 'lr.confirm: must be true, false or "full", not "maybe".',
    "lr.confirm=1": 'lr.confirm: must be true, false or "full", not 1.',
    "lr.per=model": 'lr.per: must be optimizer, not "model".',
    # Starting configurations.
    "start=[{lr=-1}]": "start[1].lr: must be a number above 0, not -1.",
    "start=[{}, {width=9}]": "start[2].width: must be a power of two from 8 to 32, not 9.",
    "start=[{layers=2.0}]": "start[1].layers: must be a whole number from 1 to 4, not 2.0.",
    "start=[{batch_size=128}]": "start[1].batch_size: must be a power of two up to 64, not 128.",
    'start=[{optimizer="lion"}]': 'start[1].optimizer: must be one of "sgd", "adam", not "lion".',
    "start=[{widht=8}]": "start[1].widht: there is no such hyperparameter in the space; did you mean width?",
    "start=[{dropout=0.2}]": "start[1].dropout: is fixed to 0.1 in the space, so it cannot be 0.2.",
    "start=[{momentum=0.9}]": 'start[1].momentum: exists only with optimizer = "sgd", which must stand beside it.',
    "start=[{lr=[1]}]": "start[1].lr: must be text, a number, true or false, not [1].",
}


@pytest.mark.parametrize("override", MISTAKES)
def test_mistake(tmp_path: Path, override: str) -> None:
    path = tmp_path / "example.toml"
    path.write_text(RECIPE)
    assert message(path, override) == MISTAKES[override]


@pytest.mark.parametrize("scheduler", ["asha", "halving", "hyperband"])
def test_a_scheduler_and_searched_lengths_contradict_each_other(tmp_path: Path, scheduler: str) -> None:
    path = tmp_path / "example.toml"
    path.write_text(RECIPE)
    said = message(path, f"search.scheduler={scheduler}", "space.epochs={choices=[5, 10]}")
    assert said.startswith(f'search.scheduler: must be "none" or "auto" with space.epochs, not "{scheduler}"')
    recipe = load_recipe(path, overrides=["space.epochs={choices=[5, 10]}"])
    assert recipe.search.scheduler == "auto"
