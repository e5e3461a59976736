"""`find_lr` with the settings of real trainings: confirmation, planned lengths, schedules, optimizers, errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from made_lr_tasks import all_state, made_data, made_task, run_of, same
from torch import nn

import probe
from probe.errors import ProbeError
from probe.lr.find import compare_lrs
from probe.lr.measure import run_at
from probe.lr.records import ConfirmRun, LrCurve, LrProgress
from probe.lr.suggest import FREE_PASSES

OPTIMIZERS = ("sgd", "nesterov", "adam", "adamw", "rmsprop", "adagrad")


def test_confirmation_evaluates_the_validation_split() -> None:
    records: list[Any] = []
    task = made_task(val=made_data(700, seed=1))
    result = probe.find_lr(task, training_steps=400, steps=60, confirm=True, observer=records.append)
    confirmation = result.confirmation
    assert confirmation is not None
    assert result.suggestion is not None
    assert result.depth == "short"
    # a quarter of the samples that a run trains on is 800, more than the validation split has
    assert (confirmation.measured_on, confirmation.num_samples) == ("validation", 700)
    assert len(confirmation.runs) == 5
    assert result.num_steps == result.curves[0].num_steps + sum(run.num_steps for run in confirmation.runs)
    assert [record for record in records if isinstance(record, ConfirmRun)]
    assert confirmation.initial_loss == pytest.approx(math.log(3), abs=0.4)


def test_a_confirmed_suggestion_ends_as_well_as_the_best() -> None:
    task = made_task(val=made_data(500, seed=1))
    found = probe.find_lr(task, training_steps=300, steps=100, confirm="full", seed=3).suggestion
    assert found is not None
    losses = {}
    for lr in [found.lr, *(10 ** (-4 + step / 2) for step in range(9))]:
        run = run_of(task, batch_size=32)
        for batch, _ in zip(run.batches(), range(300), strict=False):
            run.set_lr(lr)
            run.train_step(batch)
        losses[lr] = run.evaluate(task.val).loss
    best = min(losses.values())
    assert losses[found.lr] - best < 0.1 * (math.log(3) - best)


def test_large_validation_splits_are_sampled() -> None:
    result = probe.find_lr(made_task(val=made_data(5000, seed=1)), training_steps=300, steps=60, confirm=True)
    assert result.confirmation is not None
    assert result.confirmation.num_samples == 800


def test_without_a_validation_split_one_is_held_out() -> None:
    result = probe.find_lr(made_task(), training_steps=100, steps=60, confirm=True)
    assert result.confirmation is not None
    assert (result.confirmation.measured_on, result.confirmation.num_samples) == ("held_out", 51)


def test_repeats_average_range_tests_with_seeds_of_their_own() -> None:
    result = probe.find_lr(made_task(), steps=60, repeats=3, seed=5)
    assert len({curve.seed for curve in result.curves}) == 3
    assert result.curves[0] == probe.find_lr(made_task(), steps=60, seed=5).curves[0]
    assert result.num_steps == sum(curve.num_steps for curve in result.curves)


def test_the_training_length_lowers_the_suggestion_by_the_passes_over_the_data() -> None:
    short = probe.find_lr(made_task(), steps=100, training_steps=10)
    long = probe.find_lr(made_task(), steps=100, training_steps=8 * 100)  # an epoch has eight steps
    assert short.suggestion is not None
    assert long.suggestion is not None
    assert short.passes == pytest.approx(1.25)
    assert long.passes == pytest.approx(100)
    assert long.suggestion.lr == pytest.approx(short.suggestion.lr * FREE_PASSES / 100)


def test_epochs_are_a_length_and_a_lr_schedule_shortens_it() -> None:
    plain = probe.find_lr(made_task(), steps=60, params={"epochs": 5})
    cosine = probe.find_lr(made_task(), steps=60, params={"epochs": 5, "lr_schedule": "cosine"})
    assumed = probe.find_lr(made_task(), steps=60)
    assert (plain.training_steps, plain.training_steps_assumed) == (40, False)
    assert plain.passes == pytest.approx(5)
    assert (cosine.training_steps, cosine.lr_schedule) == (40, "cosine")
    assert cosine.passes == pytest.approx(2.5, rel=0.05)
    assert assumed.training_steps_assumed


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_has_a_suggestion(optimizer: str) -> None:
    result = probe.find_lr(made_task(optimizer=optimizer), steps=120)
    assert result.suggestion is not None, result.warnings
    assert result.other_finders is not None
    assert result.other_finders.steepest is not None


@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-3},
        {"gradient_accumulation": 4},
        {"max_grad_norm": 1.0},
        {"l1": 1e-4, "l2": 1e-4},
        {"precision": "bf16"},
    ],
    ids=lambda params: next(iter(params)),
)
def test_settings_of_real_training(params: dict[str, Any]) -> None:
    result = probe.find_lr(made_task(), params=params, steps=90, training_steps=100, confirm=True)
    assert result.suggestion is not None, result.warnings
    assert result.confirmation is not None
    assert all(run.evaluations for run in result.confirmation.runs)


def test_parameter_groups_keep_their_ratios_and_the_task_s_forward_is_used() -> None:
    seen: list[list[float]] = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]  # the closure is never used here
            seen.append([group["lr"] for group in self.param_groups])
            super().step()

    def optimizer(params: list[torch.Tensor], lr: float) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = [{"params": params[:2]}, {"params": params[2:], "lr": lr / 10}]
        return Watched(groups, lr=lr)

    def forward(model: nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = model(batch[0])
        return nn.functional.cross_entropy(outputs, batch[1]), outputs

    result = probe.find_lr(made_task(optimizer=optimizer, forward=forward), steps=60)
    assert result.suggestion is not None
    assert all(small == pytest.approx(large / 10) for large, small in seen)
    assert seen[0][0] == pytest.approx(1e-5)


def test_a_run_restores_everything_also_after_an_exception() -> None:
    task = made_task(val=made_data(64, seed=1))
    run = run_of(task)
    before = all_state(run)
    made = run_at(run, 0.01, 20)
    assert [taken.step for taken in made.evaluations] == [4, 5, 9, 10, 18, 20]
    assert same(before, all_state(run))

    def observer(progress: LrProgress) -> None:
        raise RuntimeError("the observer's own")

    with pytest.raises(RuntimeError, match="observer's own"):
        run_at(run, 0.01, 20, observer=observer)
    assert same(before, all_state(run))


def test_a_run_that_diverges_ends_early() -> None:
    made = run_at(run_of(made_task(val=made_data(64, seed=1), optimizer="sgd")), 1e30, 100)
    assert not made.finished
    assert made.num_steps < 100


def test_ctrl_c_among_the_runs_keeps_the_range_test() -> None:
    def observer(record: Any) -> None:
        if isinstance(record, ConfirmRun):
            raise KeyboardInterrupt

    result = probe.find_lr(made_task(), steps=60, training_steps=100, confirm=True, observer=observer)
    assert result.stopped_by == "interrupted"
    assert result.depth == "range_test"
    assert result.suggestion is not None
    assert result.confirmation is not None
    assert len(result.confirmation.runs) == 1
    assert any("interrupted" in warning for warning in result.warnings)


@pytest.mark.parametrize("options", [{"repeats": 2}, {"confirm": True}], ids=["second range test", "runs"])
def test_ctrl_c_while_a_model_is_built_keeps_the_curve(options: dict[str, Any]) -> None:
    num_models, interrupted_model = 0, -1

    def model() -> nn.Module:
        nonlocal num_models
        num_models += 1
        if num_models == interrupted_model:
            raise KeyboardInterrupt
        return nn.Linear(8, 3)

    settings: dict[str, Any] = {"steps": 60, "training_steps": 100}
    assert probe.find_lr(made_task(model=model), **settings).stopped_by == "finished"
    interrupted_model = 2 * num_models + 1  # the first one after a range test
    result = probe.find_lr(made_task(model=model), **settings, **options)
    assert result.stopped_by == "interrupted"
    assert result.curves[0].ended_by in ("finished", "diverged")
    assert result.suggestion is not None


def test_optimizers_are_compared() -> None:
    begun: list[str] = []
    variants = [{"optimizer": name} for name in ("sgd", "adam")]
    result = compare_lrs(made_task(), variants, axis="optimizer", begin=begun.append, steps=90)
    assert result.stopped_by == "finished"
    assert begun == ["optimizer sgd", "optimizer adam"]
    assert [one.optimizer for one in result.results] == ["sgd", "adam"]
    lrs = [one.suggestion.lr for one in result.results if one.suggestion is not None]
    assert lrs[0] > lrs[1]


def test_an_error_carries_the_comparison_so_far() -> None:
    variants = [{"batch_size": 32}, {"batch_size": 512}]
    with pytest.raises(ProbeError, match="512") as raised:
        compare_lrs(made_task(), variants, axis="batch_size", steps=60)
    assert raised.value.result.stopped_by == "error"
    assert [one.batch_size for one in raised.value.result.results] == [32]


def test_an_error_of_the_first_variant_carries_no_result() -> None:
    with pytest.raises(ProbeError, match="512") as raised:
        compare_lrs(made_task(), [{"batch_size": 512}, {"batch_size": 32}], axis="batch_size", steps=60)
    assert raised.value.result is None
    with pytest.raises(ProbeError, match="batch size"):
        compare_lrs(made_task(), [], axis="batch_size")


def test_ctrl_c_ends_a_comparison_with_the_results_so_far() -> None:
    curves = 0

    def observer(record: Any) -> None:
        nonlocal curves
        curves += isinstance(record, LrCurve)
        if curves == 2:
            raise KeyboardInterrupt

    variants = [{"optimizer": name} for name in ("sgd", "adam", "rmsprop")]
    result = compare_lrs(made_task(), variants, axis="optimizer", steps=60, observer=observer)
    assert result.stopped_by == "interrupted"
    assert len(result.results) == 1


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ({"optimizer": lambda params, lr: torch.optim.LBFGS(params, lr=lr)}, {}, "LBFGS"),
        ({"model": lambda: nn.Flatten()}, {}, "no trainable parameters"),
        ({}, {"params": {"batch_size": 257}}, "256 samples, fewer than one batch of 257"),
        ({}, {"confirm": "yes"}, "False, True or 'full'"),
        ({}, {"training_steps": 0}, "training_steps must be"),
        ({"optimizer": lambda params, lr: NoLr(params)}, {}, "has no learning rate"),
        ({"train": made_data(1, seed=0), "batch_size": 1}, {"confirm": True}, "cannot be held out"),
    ],
    ids=["lbfgs", "nothing_to_train", "small_data", "confirm", "training_steps", "no_lr", "nothing_to_hold_out"],
)
def test_errors_name_their_cause(task: dict[str, Any], options: dict[str, Any], message: str) -> None:
    plain: dict[str, Any] = {"model": lambda: nn.Linear(8, 3)} if "train" in task else {}
    with pytest.raises(ProbeError, match=message):
        probe.find_lr(made_task(**plain | task), **options)


class NoLr(torch.optim.Optimizer):
    """An optimizer without a learning rate."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # the closure is never used here
        """Nothing moves."""
