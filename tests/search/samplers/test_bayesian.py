from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_spaces import SPACE
from sampler_spaces import NESTED, NUMBERS
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from probe.search.records.search import Dimension, ParamValue
from probe.search.samplers.acquisition import log_expected_improvement
from probe.search.samplers.bayesian import BayesianSampler
from probe.search.samplers.encoding import Encoder
from probe.search.samplers.gaussian_process import (
    JITTER,
    TREND,
    GaussianProcess,
    KernelParameters,
    Observations,
    _NegativeLogPosterior,
    fit_parameters,
    standardized,
)
from probe.search.samplers.limits import FREE_SECONDS, TimeLimitedSampler
from probe.search.samplers.optuna_samplers import RandomSampler
from probe.search.space.space import Space, params_at, positions_of

ODD = Space(
    dimensions=(
        Dimension(name="layers", kind="int", low=1, high=5),
        Dimension(name="units", kind="int", low=16, high=1024, log=True),
        Dimension(name="size", kind="choices", choices=(64, 16, 32)),
        Dimension(name="flag", kind="choices", choices=(True, False)),
        Dimension(name="kind", kind="choices", choices=("a", "b", "c")),
        Dimension(name="rate", kind="float", low=0.0, high=0.5, step=0.1),
        Dimension(name="fixed", kind="float", low=0.25, high=0.25),
    ),
    constants={},
)
SPACES = pytest.mark.parametrize("space", [SPACE, NUMBERS, NESTED, ODD])


@SPACES
def test_a_code_is_its_configuration(space: Space) -> None:
    encoder, random = Encoder(space), RandomSampler(space, seed=0)
    for number in range(50):
        positions = random.ask(number)
        assert params_at(space, encoder.decode(encoder.encode(positions))) == params_at(space, positions)


@SPACES
def test_points_and_neighbours_are_configurations_of_the_space(space: Space) -> None:
    encoder, generator = Encoder(space), np.random.default_rng(0)
    codes = encoder.snapped(generator.random((200, encoder.num_dimensions)))
    neighbours = encoder.near(codes, 0.05, generator)
    for code in (*codes, *neighbours):
        positions = encoder.decode(code)
        assert positions.keys() == positions_of(space, params_at(space, positions)).keys()
    assert np.array_equal(encoder.snapped(np.where(np.isnan(codes), 0.5, codes)), codes, equal_nan=True)
    moved = (codes != neighbours) & ~(np.isnan(codes) & np.isnan(neighbours))
    assert moved.any(axis=1).mean() > 0.8
    features = encoder.features(codes)
    assert features.shape == (200, len(encoder.groups))
    assert np.isfinite(features).all()


def test_whole_numbers_and_choices_are_drawn_alike_and_choices_that_are_numbers_have_an_order() -> None:
    encoder = Encoder(ODD)
    codes = encoder.snapped(np.random.default_rng(1).random((6000, encoder.num_dimensions)))
    for column, cells in ((0, 5), (2, 3), (3, 2), (4, 3), (5, 6)):
        _, counts = np.unique(codes[:, column], return_counts=True)
        assert len(counts) == cells
        assert counts.min() > 0.8 * counts.max()
    sizes = [float(encoder.encode({"size": size})[2]) for size in (16, 32, 64)]
    assert sizes == sorted(sizes)
    kinds = np.stack([encoder.features(encoder.encode({"kind": kind})[None])[0] for kind in "abc"])
    distances = np.square(kinds[:, None] - kinds).sum(axis=2)
    assert distances == pytest.approx(1 - np.eye(3))


def observations(num_rows: int, *, rungs: int = 1) -> Observations:
    generator = np.random.default_rng(num_rows)
    features = generator.random((num_rows, 3))
    values = np.sin(5 * features[:, 0]) + features[:, 1] + 0.1 * generator.normal(size=num_rows)
    return Observations(features=features, rungs=np.arange(num_rows) % rungs, values=values)


GROUPS = np.arange(3)
PARAMETERS = KernelParameters(length_scales=np.array([0.3, 0.8, 2.0]), signal=1.3, noise=0.01, rung_scale=2.0)


def test_predictions_are_those_of_scikit_learn() -> None:
    observed = observations(30)
    kernel = (
        ConstantKernel(PARAMETERS.signal) * Matern(PARAMETERS.length_scales, nu=2.5)
        + ConstantKernel(TREND)
        + WhiteKernel(PARAMETERS.noise)
    )
    peer = GaussianProcessRegressor(kernel, alpha=JITTER, optimizer=None).fit(observed.features, observed.values)
    places = np.random.default_rng(0).random((20, 3))
    mean, deviation = GaussianProcess(PARAMETERS, observed, GROUPS).predict(places, 0)
    expected, with_noise = peer.predict(places, return_std=True)
    assert mean == pytest.approx(expected, abs=1e-6)
    assert deviation == pytest.approx(np.sqrt(with_noise**2 - PARAMETERS.noise), abs=1e-5)


def test_the_gradient_of_the_fit_is_the_slope() -> None:
    objective = _NegativeLogPosterior(observations(25, rungs=3), GROUPS)
    logs = objective.means + np.random.default_rng(0).normal(0, 0.3, len(objective.means))
    _, gradient = objective(logs)
    for index in range(len(logs)):
        step = np.zeros_like(logs)
        step[index] = 1e-5
        slope = (objective(logs + step)[0] - objective(logs - step)[0]) / 2e-5
        assert gradient[index] == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_a_fit_finds_out_which_dimensions_matter() -> None:
    scales = fit_parameters(observations(60), GROUPS).length_scales
    assert scales[0] < scales[1] < scales[2]


def test_expected_improvement_where_it_underflows_too() -> None:
    for z in (3.0, 0.5, -0.5, -2.0, -8.0, -30.0):
        improvement = np.linspace(0, 10, 400_001)
        logs = np.log(improvement[1:]) - 0.5 * np.square(improvement[1:] - z) - 0.5 * math.log(2 * math.pi)
        expected = logs.max() + math.log(np.exp(logs - logs.max()).sum() * improvement[1])
        [found] = log_expected_improvement(np.array([2.0 * z + 1.0]), np.array([2.0]), best=1.0)
        assert found == pytest.approx(expected + math.log(2.0), abs=2e-3)


@settings(deadline=None)
@given(st.lists(st.floats(-1e300, 1e300) | st.sampled_from([1e30, -1e30, 0.0]), min_size=2, max_size=30))
def test_standardized_scores_keep_their_order_and_are_small(scores: list[float]) -> None:
    found = standardized(np.array(scores))
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= math.sqrt(len(scores))
    order = np.argsort(scores, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


def test_one_loss_of_1e30_leaves_the_others_apart_and_halving_a_loss_counts_alike() -> None:
    found = standardized(np.array([-1e30, -1.6, -0.8, -0.4, -0.2, -0.1]))
    assert np.diff(found[1:]) == pytest.approx(np.diff(found[1:])[0])
    assert found[-1] - found[1] > 0.5


def search(
    space: Space, score: Callable[[dict[str, ParamValue]], float | None], num_trials: int, *, seed: int = 0
) -> list[dict[str, ParamValue]]:
    """The positions of trials, one after the other. `score` returns None for an infeasible one."""
    sampler = BayesianSampler(space, mode="min", seed=seed)
    asked = []
    for number in range(num_trials):
        positions = sampler.ask(number)
        asked.append(positions)
        value = score(params_at(space, positions))
        if value is None:
            sampler.tell(number, "infeasible")
        else:
            sampler.tell(number, "scored", value)
    return asked


def test_choices_and_conditions_are_learned() -> None:
    def loss(params: dict[str, ParamValue]) -> float:
        if params["optimizer"] == "adam":
            return 1.0
        return abs(float(params["momentum"]) - 0.8) + (0.0 if params["optimizer"] == "sgd" else 0.3)

    late = [params_at(NESTED, positions) for positions in search(NESTED, loss, 30)[15:]]
    assert sum(params["optimizer"] == "sgd" for params in late) > 10
    assert min(loss(params) for params in late) < 0.02


def test_what_a_longer_training_shows_counts() -> None:
    """On the first rung lower is better, on the last one higher."""
    space = Space(dimensions=(Dimension(name="x", kind="float", low=0.0, high=1.0),), constants={})
    sampler = BayesianSampler(space, mode="max", seed=0, num_rungs=2)
    late = []
    for number in range(24):
        x = float(sampler.ask(number)["x"])
        sampler.tell(number, "scored", 0.1 - 0.1 * x)
        if number % 2 == 0:
            sampler.tell(number, "scored", 0.5 + 0.4 * x)
        late += [x] if number >= 12 else []
    assert np.median(late) > 0.8


def test_trials_that_run_at_the_same_time_spread_out() -> None:
    def together(*, told: bool) -> float:
        sampler = BayesianSampler(NUMBERS, mode="max", seed=1)
        for number in range(16):
            positions = sampler.ask(number)
            sampler.tell(number, "scored", -abs(float(positions["lr@position"]) - 0.5))
        places = []
        for number in range(16, 22):
            places.append(float(sampler.ask(number)["lr@position"]))
            if told:
                sampler.tell(number, "lost")  # nothing is expected of it
        return float(np.ptp(places))

    assert together(told=False) > together(told=True)


def test_a_finite_space_is_tried_once_as_long_as_something_is_left() -> None:
    space = Space(
        dimensions=(
            Dimension(name="a", kind="int", low=1, high=4),
            Dimension(name="b", kind="choices", choices=("x", "y", "z")),
        ),
        constants={},
    )
    asked = search(space, lambda params: float(params["a"]), 12)
    assert len({tuple(positions.items()) for positions in asked[5:]}) == 7


@pytest.mark.parametrize("score", [1.0, 1e30, -1e30])
def test_scores_that_tell_nothing_are_survived(score: float) -> None:
    assert len(search(SPACE, lambda params: score, 12)) == 12
    assert len(search(SPACE, lambda params: score if params["optimizer"] == "sgd" else None, 12)) == 12


def test_asking_never_takes_longer_than_training() -> None:
    now = [0.0]

    class Slow(BayesianSampler):
        def _next(self, number: int) -> np.ndarray:
            now[0] += 4.0
            return super()._next(number)

    trained = [0.0]
    sampler = TimeLimitedSampler(
        Slow(NUMBERS, mode="max", seed=0),
        RandomSampler(NUMBERS, seed=0),
        training_seconds=lambda: trained[0],
        clock=lambda: now[0],
    )
    for number in range(40):
        positions = sampler.ask(number)
        sampler.tell(number, "scored", float(positions["lr@position"]))
        trained[0] += 1.0
        assert now[0] <= FREE_SECONDS + trained[0] + 4.0
    assert 10 <= now[0] / 4.0 <= 14
    assert sampler.warning is not None
    assert f"random chose the other {40 - round(now[0] / 4.0)}" in sampler.warning
