from __future__ import annotations

import logging

import optuna
import pytest
from test_search_space import SPACE

from probe.errors import RecipeError
from probe.search.algorithms import MIN_TRIALS_FOR_IMPORTANCE, Sampler, importance, make_sampler
from probe.search.records import ParamValue
from probe.search.space import params_at

Positions = dict[str, ParamValue]


def goodness(positions: Positions) -> float:
    """Best with adam and a learning rate at 0.7 of its range; nothing else matters."""
    return (0.3 if positions["optimizer"] == "adam" else 0.0) - abs(float(positions["lr@position"]) - 0.7)


def tell(sampler: Sampler, number: int, positions: Positions) -> None:
    if number % 7 == 3:
        sampler.tell(number, "infeasible")
    elif number % 11 == 5:
        sampler.tell(number, "lost")
    else:
        sampler.tell(number, "scored", goodness(positions))
        if number % 13 == 6:
            sampler.tell(number, "infeasible")  # on a later rung


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_sampler_rebuilt_by_replay_goes_on_as_the_one_that_was_never_stopped(name: str) -> None:
    whole, resumed = (make_sampler(name, SPACE, mode="max", seed=3) for _ in range(2))
    asked = []
    for number in range(30):
        asked.append(whole.ask(number))
        tell(whole, number, asked[-1])
    for number in range(20):
        resumed.ask(number, at=asked[number])
        tell(resumed, number, asked[number])
    for number in range(20, 30):
        assert resumed.ask(number) == asked[number]
        tell(resumed, number, asked[number])


def test_seeds_differ_and_draws_do_not_repeat() -> None:
    first, second = (make_sampler("random", SPACE, mode="max", seed=seed) for seed in (0, 1))
    draws = [tuple(sampler.ask(number).items()) for sampler in (first, second) for number in range(10)]
    assert len(set(draws)) == 20


def test_tpe_learns_what_is_good() -> None:
    scores = {}
    for name in ("random", "tpe"):
        sampler = make_sampler(name, SPACE, mode="max", seed=1)
        found = []
        for number in range(45):
            positions = sampler.ask(number)
            found.append(goodness(positions))
            sampler.tell(number, "scored", found[-1])
        scores[name] = sum(found[25:]) / 20
    assert scores["tpe"] > scores["random"] + 0.1


def test_tpe_keeps_away_from_what_runs_out_of_memory() -> None:
    sampler = make_sampler("auto", SPACE, mode="max", seed=0)
    assert sampler.name == "tpe"
    num_late_walls = 0
    for number in range(50):
        positions = sampler.ask(number)
        wall = float(positions["lr@position"]) > 0.6  # and everything gets better towards it
        num_late_walls += wall and number >= 25
        if wall:
            sampler.tell(number, "infeasible")
        else:
            sampler.tell(number, "scored", float(positions["lr@position"]))
    assert num_late_walls <= 10


def test_given_positions_are_kept_to_the_bit_and_a_discarded_ask_is_replaced() -> None:
    sampler = make_sampler("tpe", SPACE, mode="min", seed=0)
    positions = sampler.ask(0)
    sampler.discard(0)
    other = make_sampler("tpe", SPACE, mode="min", seed=5).ask(0)
    assert other != positions
    assert sampler.ask(0, at=other) == other
    sampler.tell(0, "scored", 1.0)
    assert params_at(SPACE, sampler.ask(1))["dropout"] == 0.1


def test_importance_finds_what_matters() -> None:
    sampler = make_sampler("random", SPACE, mode="max", seed=0)
    scored = [(positions, goodness(positions)) for positions in (sampler.ask(number) for number in range(80))]
    shares = importance(SPACE.dimensions, scored, mode="max")
    assert next(iter(shares)) == "lr"
    assert set(shares) <= {dimension.name for dimension in SPACE.dimensions}
    assert sum(shares.values()) == pytest.approx(1)
    assert importance(SPACE.dimensions, scored[: MIN_TRIALS_FOR_IMPORTANCE - 1], mode="max") == {}
    assert importance(SPACE.dimensions, [(positions, 1.0) for positions, _ in scored], mode="max") == {}


def test_an_unknown_sampler_is_named() -> None:
    with pytest.raises(RecipeError, match="Unknown sampler 'tpee'"):
        make_sampler("tpee", SPACE, mode="max", seed=0)


def test_the_users_own_optuna_logging_is_left_alone() -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.DEBUG)
    try:
        make_sampler("random", SPACE, mode="max", seed=0).ask(0)
        assert optuna.logging.get_verbosity() == logging.DEBUG
    finally:
        optuna.logging.set_verbosity(before)
