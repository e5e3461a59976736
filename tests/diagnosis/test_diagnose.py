"""What curves say: curves made to have one trouble, and real runs that were given one."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_runs import SHAPES, START, noisy_run, run, unstable_run
from made_tasks import made_data, made_task
from torch import nn

from probe.device.cpu import CpuDevice
from probe.diagnosis.diagnose import MIN_EPOCHS, diagnose
from probe.records_json import from_plain, to_plain
from probe.training.records import Diagnosis, DiagnosisKind, EpochReport
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings

NUM_SEEDS = 50
CASES = [(kind, number) for kind, shapes in SHAPES.items() for number in range(len(shapes))]
few = settings(deadline=None, max_examples=60)


@pytest.mark.parametrize("num_epochs", [9, 27, 60])
@pytest.mark.parametrize(("kind", "number"), CASES)
def test_made_curves_are_told_apart_under_noise(kind: DiagnosisKind, number: int, num_epochs: int) -> None:
    shape = SHAPES[kind][number]
    found = Counter(
        diagnose(noisy_run(shape, num_epochs=num_epochs, noise=noise, seed=seed), untrained_loss=START).kind
        for noise in (0.005, 0.02)
        for seed in range(NUM_SEEDS)
    )
    assert found[kind] >= 0.93 * found.total(), found


@pytest.mark.parametrize(("kind", "number"), CASES)
def test_a_diagnosis_under_heavy_noise_is_right_where_it_is_sure(kind: DiagnosisKind, number: int) -> None:
    told = [
        diagnose(noisy_run(SHAPES[kind][number], num_epochs=27, noise=0.05, seed=seed), untrained_loss=START)
        for seed in range(NUM_SEEDS)
    ]
    sure = [diagnosis for diagnosis in told if diagnosis.confidence == "high"]
    assert sum(diagnosis.kind == kind for diagnosis in told) >= 0.8 * NUM_SEEDS
    assert sum(diagnosis.kind == kind for diagnosis in sure) >= 0.9 * len(sure)


@given(st.integers(0, 10**6), st.integers(8, 80))
@few
def test_large_jumps_are_unstable(seed: int, num_epochs: int) -> None:
    diagnosis = diagnose(unstable_run(num_epochs=num_epochs, seed=seed), untrained_loss=START)
    assert diagnosis.kind == "unstable"
    assert "learning rate" in diagnosis.remedies[0]


@given(st.sampled_from(CASES), st.integers(0, 10**6), st.floats(1e-6, 1e6))
@few
def test_the_unit_of_the_loss_does_not_matter(case: tuple[DiagnosisKind, int], seed: int, scale: float) -> None:
    shape = SHAPES[case[0]][case[1]]
    plain = diagnose(noisy_run(shape, num_epochs=20, noise=0.02, seed=seed), untrained_loss=START)
    scaled = diagnose(noisy_run(shape, num_epochs=20, noise=0.02, seed=seed, scale=scale), untrained_loss=START * scale)
    assert (scaled.kind, scaled.confidence) == (plain.kind, plain.confidence)


losses = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.lists(st.tuples(losses, st.none() | losses, st.none() | st.floats(-2, 2) | losses), max_size=20),
    st.sampled_from(["max", "min"]),
    st.none() | losses,
)
@example([(5e-324, 0.0, None)] * 6, "max", None)
@settings(deadline=None, max_examples=300)
def test_any_finite_curves_give_a_record_that_can_be_stored(
    rows: list[tuple[float, float | None, float | None]], mode: Any, untrained: float | None
) -> None:
    reports = [
        EpochReport(
            epoch=number + 1,
            train_loss=train,
            val_loss=val,
            metrics={} if metric is None else {"accuracy": metric},
            seconds=1.0,
        )
        for number, (train, val, metric) in enumerate(rows)
    ]
    diagnosis = diagnose(reports, metric="accuracy", mode=mode, untrained_loss=untrained)
    assert from_plain(Diagnosis, to_plain(diagnosis)) == diagnosis
    assert (diagnosis.kind == "too_few_epochs") == (len(reports) < MIN_EPOCHS)
    assert diagnosis.remedies


@pytest.mark.parametrize("num_epochs", range(MIN_EPOCHS + 1))
def test_few_epochs_are_not_judged(num_epochs: int) -> None:
    falling = [START - 0.2 * epoch for epoch in range(num_epochs)]
    diagnosis = diagnose(run(falling, falling))
    assert diagnosis.kind == ("too_few_epochs" if num_epochs < MIN_EPOCHS else "still_improving")


@pytest.mark.parametrize("kind", ["underfitting", "still_improving"])
def test_without_validation_the_training_loss_is_judged_with_little_certainty(kind: DiagnosisKind) -> None:
    reports = noisy_run(SHAPES[kind][0], num_epochs=27, noise=0.01, seed=0, with_validation=False)
    diagnosis = diagnose(reports, untrained_loss=START)
    assert (diagnosis.kind, diagnosis.confidence) == (kind, "low")
    assert diagnosis.evidence is not None
    assert diagnosis.evidence.val_loss is None
    assert diagnosis.evidence.gap is None


@given(st.integers(0, 10**6), st.sampled_from(CASES))
@few
def test_without_validation_neither_overfitting_nor_health_is_claimed(
    seed: int, case: tuple[DiagnosisKind, int]
) -> None:
    reports = noisy_run(SHAPES[case[0]][case[1]], num_epochs=27, noise=0.02, seed=seed, with_validation=False)
    assert diagnose(reports, untrained_loss=START).kind not in ("overfitting", "healthy")


def test_a_validation_loss_with_holes_counts_as_none() -> None:
    reports = list(noisy_run(SHAPES["overfitting"][0], num_epochs=27, noise=0.0, seed=0))
    reports[3] = replace(reports[3], val_loss=None)
    diagnosis = diagnose(reports, untrained_loss=START)
    assert diagnosis.evidence is not None
    assert diagnosis.evidence.best_epoch is None
    assert diagnosis.kind != "overfitting"


def test_a_start_that_was_not_measured_makes_a_level_less_sure() -> None:
    reports = noisy_run(SHAPES["healthy"][1], num_epochs=60, noise=0.01, seed=0)
    known, unknown = diagnose(reports, untrained_loss=START), diagnose(reports)
    assert (known.kind, unknown.kind) == ("healthy", "healthy")
    assert known.confidence == "high"
    assert unknown.confidence == "low"


def test_a_metric_near_its_best_tells_health_where_the_loss_started_low() -> None:
    """Most was learned in the first epoch: the losses alone look as if nothing much were learned."""
    train = [0.20 + 0.1 * math.exp(-epoch) for epoch in range(15)]
    val = [loss + 0.02 for loss in train]
    assert diagnose(run(train, val)).kind == "underfitting"
    reports = run(train, val, [0.985 - 0.01 * math.exp(-epoch) for epoch in range(15)])
    assert diagnose(reports, metric="accuracy").kind == "healthy"
    # as the share of wrong answers it is small by nature: nothing is read into it
    assert diagnose(reports, metric="accuracy", mode="min").kind == "underfitting"


def test_overfitting_of_the_loss_alone_is_less_sure_and_names_calibration() -> None:
    shape = SHAPES["overfitting"][0]
    losses = noisy_run(shape, num_epochs=27, noise=0.005, seed=0)
    rising = [0.9 - 0.3 * math.exp(-epoch / 4) for epoch in range(27)]
    falling = [share - 0.01 * max(0, epoch - 9) for epoch, share in enumerate(rising)]
    told = {}
    for name, accuracies in (("kept", rising), ("lost", falling)):
        reports = [
            replace(report, metrics={"accuracy": share}) for report, share in zip(losses, accuracies, strict=True)
        ]
        told[name] = diagnose(reports, metric="accuracy", untrained_loss=START)
        assert told[name].kind == "overfitting"
    assert told["kept"].confidence == "moderate"
    assert told["lost"].confidence == "high"
    assert "calibration" in told["kept"].remedies[-1]
    assert not any("calibration" in remedy for remedy in told["lost"].remedies)


def test_a_plateau_below_the_training_loss_asks_for_less_regularization() -> None:
    level = [START * math.exp(-epoch) + 0.5 for epoch in range(20)]
    above, below = run([loss + 0.2 for loss in level], level), run(level, level)
    told = [diagnose(reports, untrained_loss=START) for reports in (above, below)]
    assert [diagnosis.kind for diagnosis in told] == ["plateau", "plateau"]
    assert "less regularization" in told[0].remedies[0]
    assert not any("less regularization" in remedy for remedy in told[1].remedies)


def test_both_losses_going_up_is_no_overfitting() -> None:
    down = [START * math.exp(-epoch / 2) + 0.3 for epoch in range(9)]
    up = [down[-1] + 0.1 * epoch for epoch in range(1, 10)]
    train = down + up
    assert diagnose(run(train, [loss + 0.05 for loss in train]), untrained_loss=START).kind == "unstable"


def test_next_to_no_loss_is_not_overfitting_when_it_doubles() -> None:
    train = [START * math.exp(-epoch) + 0.0001 for epoch in range(20)]
    val = [START * math.exp(-epoch) + 0.001 + 0.00005 * epoch for epoch in range(20)]
    assert diagnose(run(train, val), untrained_loss=START).kind == "healthy"


def test_a_perfect_fit_is_no_division_by_zero() -> None:
    zero = [START, 1.0, 0.1, *[0.0] * 9]
    assert diagnose(run(zero, zero), untrained_loss=START).kind == "healthy"
    assert diagnose(run([0.0] * 9, [0.0] * 9)).kind == "plateau"


def test_a_loss_below_zero_is_judged_by_its_fidelity() -> None:
    """As a log density: it has no lowest value to be near to."""
    for kind in ("overfitting", "still_improving", "plateau"):
        reports = [
            replace(report, train_loss=report.train_loss - 3, val_loss=(report.val_loss or 0) - 3)
            for report in noisy_run(SHAPES[kind][0], num_epochs=27, noise=0.005, seed=1)
        ]
        diagnosis = diagnose(reports)
        assert diagnosis.kind == kind
        assert diagnosis.evidence is not None
        assert diagnosis.evidence.progress is None


class Sum(nn.Module):
    """A straight line: too little for the product of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(6, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.line(inputs))


def products(num_samples: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(num_samples, 6, generator=torch.Generator().manual_seed(seed))
    return inputs, (inputs[:, 0] * inputs[:, 1] > 0).long()


def clear_cut(num_samples: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes, no sample near a border."""
    inputs = torch.randn(num_samples, 6, generator=torch.Generator().manual_seed(seed))
    first, second = inputs[:, :3].topk(2).values.unbind(1)
    inputs = inputs[first - second > 0.4]
    return inputs, inputs[:, :3].argmax(dim=1)


def wide_net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))


@pytest.mark.parametrize(
    ("kind", "changes", "trainer", "untrained_loss"),
    [
        (
            "underfitting",
            {"model": Sum, "train": products(400, 0), "val": products(400, 1)},
            {"lr": 0.03},
            math.log(2),
        ),
        (
            "overfitting",
            {"model": wide_net, "train": made_data(40), "val": made_data(300, seed=1)},
            {"lr": 0.01},
            math.log(3),
        ),
        ("still_improving", {"val": made_data(400, seed=1)}, {"lr": 0.001}, math.log(3)),
        ("unstable", {"model": wide_net}, {"lr": 1.0, "optimizer": "sgd", "momentum": 0.95}, math.log(3)),
        (
            "healthy",
            {"model": wide_net, "train": clear_cut(1200, 0), "val": clear_cut(600, 1)},
            {"lr": 0.003, "lr_schedule": "cosine", "epochs": 15},
            math.log(3),
        ),
    ],
    ids=["underfitting", "overfitting", "still improving", "unstable", "healthy"],
)
def test_real_runs(kind: str, changes: dict[str, Any], trainer: dict[str, Any], untrained_loss: float) -> None:
    training = TrainingRun(
        made_task(**changes), TrainerSettings(**{"batch_size": 16} | trainer), device=CpuDevice(), seed=0
    )
    reports = [report for report in (training.run_epoch() for _ in range(15)) if report is not None]
    diagnosis = diagnose(reports, metric="accuracy", untrained_loss=untrained_loss)
    assert diagnosis.kind == kind, (diagnosis, reports)


def test_it_loads_no_framework() -> None:
    program = "import sys, probe.diagnosis.diagnose; print({'torch', 'numpy', 'optuna'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
