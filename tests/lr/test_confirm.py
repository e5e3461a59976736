"""Expected losses and suggestions, from runs whose truth is known: losses that are functions of learning rate times steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.lr.confirm import lrs_around, steps_to_evaluate, suggest_confirmed, with_expectations
from probe.lr.records import Confirmation, ConfirmRun, LossAt

STEPS = 100
INITIAL = 2.3
Loss = Callable[[float, int], float]
"""(learning rate, steps) -> loss on unseen data"""


def learning(lr: float, steps: int) -> float:
    """Falls with the distance, ever more slowly."""
    return 0.1 + 2.2 / (1 + lr * steps)


def overfitting(lr: float, steps: int) -> float:
    """Falls until a distance of 5, then rises."""
    distance = lr * steps
    return learning(lr, steps) + 0.3 * max(0.0, math.log(distance / 5)) ** 2 if distance > 0 else INITIAL


def noisy(lr: float, steps: int) -> float:
    """Learns, with a floor that rises with the learning rate."""
    return learning(lr, steps) + 2 * lr


def runs_of(
    loss: Loss, lrs: Sequence[float], *, unstable_above: float = math.inf, num_steps: int = STEPS
) -> Confirmation:
    runs = []
    for lr in lrs:
        finished = lr <= unstable_above
        taken = tuple(LossAt(step=step, loss=loss(lr, step)) for step in steps_to_evaluate(num_steps))
        runs.append(
            ConfirmRun(lr=lr, num_steps=num_steps, evaluations=taken if finished else taken[:1], finished=finished)
        )
    return Confirmation(
        measured_on="validation", num_samples=500, initial_loss=INITIAL, planned_steps=num_steps, runs=tuple(runs)
    )


def suggested(confirmation: Confirmation, training_steps: float) -> float:
    found, _ = suggest_confirmed(confirmation, effective_steps=training_steps, lowest=1e-5, highest=10)
    assert found is not None
    assert found.low <= found.lr <= found.high
    return found.lr


@given(st.floats(1e-3, 0.05), st.integers(200, 2000))
@settings(deadline=None, max_examples=60)
def test_what_depends_on_distance_alone_is_expected_where_it_was_seen(lr: float, training_steps: int) -> None:
    lrs = lrs_around(lr, lowest=1e-5, highest=10)
    confirmation = with_expectations(runs_of(learning, lrs), effective_steps=training_steps)
    for run in confirmation.runs:
        if run.lr * training_steps <= lrs[-1] * STEPS:
            assert run.expected_loss == pytest.approx(learning(run.lr, training_steps), rel=0.15)


@pytest.mark.parametrize("training_steps", [100, 400, 1600])
def test_overfitting_divides_the_learning_rate_by_the_length(training_steps: int) -> None:
    # The lowest loss is at a distance of about 6.5, whatever the learning rate.
    best = min((10 ** (-4 + step / 50) for step in range(250)), key=lambda lr: overfitting(lr, training_steps))
    lrs = lrs_around(0.1, lowest=1e-5, highest=10)
    found = suggested(runs_of(overfitting, lrs), training_steps)
    assert abs(math.log10(found / best)) < 0.35


def test_noise_of_high_learning_rates_is_not_carried_to_lower_ones() -> None:
    training_steps = 1000
    best = min((10 ** (-4 + step / 50) for step in range(250)), key=lambda lr: noisy(lr, training_steps))
    found = suggested(runs_of(noisy, lrs_around(0.3, lowest=1e-5, highest=10)), training_steps)
    attainable = INITIAL - noisy(best, training_steps)
    assert noisy(found, training_steps) - noisy(best, training_steps) < 0.1 * attainable


def test_runs_beyond_the_edge_of_stability_are_left_out() -> None:
    lrs = lrs_around(0.1, lowest=1e-5, highest=10)
    confirmation = with_expectations(runs_of(learning, lrs, unstable_above=0.05), effective_steps=400)
    assert [run.expected_loss is None for run in confirmation.runs] == [False, False, False, True, True]
    assert suggested(confirmation, 400) <= 0.05


def test_the_band_holds_what_loses_little() -> None:
    confirmation = runs_of(learning, lrs_around(0.1, lowest=1e-5, highest=10))
    found, warnings = suggest_confirmed(confirmation, effective_steps=100, lowest=1e-5, highest=10)
    assert found is not None
    best = learning(confirmation.runs[-1].lr, 100)
    # At the end of the runs, the expectation is the measurement; between runs it is interpolated.
    assert learning(found.low, 100) - best <= 0.06 * (INITIAL - best)
    assert "higher" in warnings[0]


def test_where_lower_ones_do_as_well_the_upper_end_alone_is_in_doubt() -> None:
    lrs = lrs_around(1.0, lowest=1e-5, highest=10)
    found, warnings = suggest_confirmed(runs_of(learning, lrs), effective_steps=10_000, lowest=1e-5, highest=10)
    assert found is not None
    assert found.lr < lrs[-2]
    assert "upper end" in warnings[0]


def test_runs_that_learn_nothing_confirm_nothing() -> None:
    found, warnings = suggest_confirmed(
        runs_of(lambda lr, steps: INITIAL + lr, [0.01, 0.1]), effective_steps=100, lowest=1e-5, highest=10
    )
    assert found is None
    assert "not confirmed" in warnings[0]


@given(st.floats(-20, 20), st.floats(0.01, 50))
@settings(deadline=None, max_examples=60)
def test_losses_of_any_sign_are_handled(shift: float, scale: float) -> None:
    """Log-likelihoods of densities may be negative; the suggestion stays near that of the same losses made positive."""
    lrs = lrs_around(0.05, lowest=1e-5, highest=10)
    changed = runs_of(lambda lr, steps: scale * noisy(lr, steps) + shift, lrs)
    changed = Confirmation(
        measured_on="validation",
        num_samples=1,
        initial_loss=scale * INITIAL + shift,
        planned_steps=STEPS,
        runs=changed.runs,
    )
    found, _ = suggest_confirmed(changed, effective_steps=500, lowest=1e-5, highest=10)
    assert found is not None
    assert 1e-3 < found.lr < 0.5


@given(st.floats(1e-5, 10))
def test_learning_rates_stay_inside_the_tested_range(lr: float) -> None:
    lrs = lrs_around(lr, lowest=1e-5, highest=10)
    assert len(lrs) == 5
    assert 1e-5 <= lrs[0] < lrs[-1] <= 10
    assert math.log10(lrs[-1] / lrs[0]) == pytest.approx(2.0)


@given(st.integers(1, 5000))
def test_every_run_is_evaluated_at_its_end(num_steps: int) -> None:
    steps = steps_to_evaluate(num_steps)
    assert steps[-1] == num_steps
    assert list(steps) == sorted(set(steps))
    assert len(steps) <= 6


@given(st.integers(1, 12), st.integers(1, 1000))
@settings(deadline=None, max_examples=60)
def test_runs_of_a_few_steps_give_a_suggestion_in_the_range(num_steps: int, training_steps: int) -> None:
    lrs = lrs_around(0.1, lowest=1e-5, highest=10)
    confirmation = runs_of(learning, lrs, num_steps=num_steps)
    assert 1e-5 <= suggested(confirmation, training_steps) <= 10
    expected = with_expectations(confirmation, effective_steps=num_steps).runs
    for run in expected:  # a training as long as the runs is expected to end where they did
        assert run.expected_loss == pytest.approx(learning(run.lr, num_steps), rel=0.2)


def test_where_every_step_makes_the_loss_worse_the_lowest_rate_is_the_best() -> None:
    lrs = lrs_around(0.1, lowest=1e-5, highest=10)
    found, warnings = suggest_confirmed(
        runs_of(lambda lr, steps: 1 + 0.1 * math.log1p(lr * steps), lrs), effective_steps=100, lowest=1e-5, highest=10
    )
    assert found is not None
    assert found.lr < lrs[0]
    assert "lower" in warnings[0]
