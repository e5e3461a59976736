from __future__ import annotations

import logging
from functools import partial

import optuna
import pytest
from made_spaces import SPACE
from sampler_spaces import NESTED, NUMBERS

from probe.errors import RecipeError
from probe.search.records.search import Dimension, ParamValue
from probe.search.samplers.optuna_samplers import RandomSampler, create_study, numpy_seed, suggest
from probe.search.samplers.protocol import Sampler
from probe.search.samplers.registry import SAMPLER_NAMES, make_sampler
from probe.search.samplers.tpe import TPESampler
from probe.search.space.configurations import grid, grid_size, on_grid
from probe.search.space.space import Space, draw, params_at, positions_of
from probe.seeds import derive_seed

Positions = dict[str, ParamValue]


def goodness(positions: Positions) -> float:
    """Best with adam and a learning rate at 0.7 of its range; nothing else matters."""
    return (0.3 if positions.get("optimizer", "adam") == "adam" else 0.0) - abs(float(positions["lr@position"]) - 0.7)


def tell(sampler: Sampler, number: int, positions: Positions) -> None:
    if number % 7 == 3:
        sampler.tell(number, "infeasible")
    elif number % 11 == 5:
        sampler.tell(number, "lost")
    else:
        sampler.tell(number, "scored", goodness(positions))
        if number % 5 == 1:
            sampler.tell(number, "scored", 1 + number % 3 - goodness(positions))  # where it climbed, they turned round
        if number % 13 == 6:
            sampler.tell(number, "infeasible")  # on a later rung


SAMPLERS = [name for name in SAMPLER_NAMES if name not in ("auto", "grid")]
CONDITIONAL = ["random", "tpe", "gp", "evolutionary"]


@pytest.mark.parametrize("name", [*CONDITIONAL, "grid"])
def test_what_conditions_rule_out_is_never_drawn(name: str) -> None:
    sampler = make_sampler(name, NESTED, mode="max", seed=1)
    seen = set()
    for number in range(25):
        positions = sampler.ask(number)
        params = params_at(NESTED, positions)
        layers = int(params["layers"])
        assert ("momentum" in params) == (params["optimizer"] != "adam")
        assert ("dropout" in params) == (layers >= 2)
        assert ("width" in params) == (2 <= layers <= 3 and float(params["dropout"]) >= 0.2)
        assert positions.keys() == positions_of(NESTED, params).keys()
        seen.add(tuple(params))
        if number % 4 == 1:
            sampler.tell(number, "infeasible")
        else:
            sampler.tell(number, "scored", float(layers))
    assert len(seen) >= 4


def space_for(name: str) -> Space:
    return SPACE if name in CONDITIONAL else NUMBERS


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_rebuilt_by_replay_goes_on_as_the_one_that_was_never_stopped(name: str) -> None:
    whole, resumed = (make_sampler(name, space_for(name), mode="max", seed=3) for _ in range(2))
    asked = []
    for number in range(30):
        asked.append(whole.ask(number))
        tell(whole, number, asked[-1])
    for number in range(30 * 2 // 3):
        resumed.ask(number, at=asked[number])
        tell(resumed, number, asked[number])
    for number in range(30 * 2 // 3, 30):
        assert resumed.ask(number) == asked[number]
        tell(resumed, number, asked[number])


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_resumed_sampler_need_not_know_what_was_discarded_or_given(name: str) -> None:
    """A resumed search passes start points and replaced configurations as positions."""
    whole, resumed = (make_sampler(name, space_for(name), mode="max", seed=8) for _ in range(2))
    others = [make_sampler("random", space_for(name), mode="max", seed=99).ask(number) for number in range(30)]
    asked = []
    end = 29
    for number in range(end):
        positions = whole.ask(number, at=others[number] if number < 2 else None)
        if number % 5 == 4:
            whole.discard(number)
            positions = whole.ask(number, at=others[number])
        assert (positions == others[number]) == (number < 2 or number % 5 == 4)
        asked.append(positions)
        tell(whole, number, positions)
    for number in range(end // 5 * 5):
        assert resumed.ask(number, at=asked[number]) == asked[number]
        tell(resumed, number, asked[number])
    for number in range(end // 5 * 5, end):
        assert resumed.ask(number) == asked[number]
        tell(resumed, number, asked[number])


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_seed_makes_the_same_decisions_whatever_runs_beside_it(name: str) -> None:
    """Two trials run at a time and end in any order; a decision depends only on what was told before the ask."""

    def decisions(seed: int) -> list[Positions]:
        sampler = make_sampler(name, space_for(name), mode="max", seed=seed)
        asked: list[Positions] = []
        for number in range(0, 24 + 1, 2):
            asked += [sampler.ask(number), sampler.ask(number + 1)]
            for told in (number + 1, number) if number % 4 else (number, number + 1):
                tell(sampler, told, asked[told])
        return asked

    assert decisions(5) == decisions(5)
    assert decisions(5) != decisions(6)


@pytest.mark.parametrize(("name", "num_trials"), [("gp", 20), ("cma-es", 45), ("evolutionary", 60)])
def test_samplers_that_see_completed_trials_only_learn_what_is_good_and_what_is_a_wall(
    name: str, num_trials: int
) -> None:
    """Scores improve up to 0.7; beyond it, trials run out of memory."""
    means = {}
    for this in ("random", name):
        sampler = make_sampler(this, NUMBERS, mode="max", seed=0)
        found = []
        for number in range(num_trials):
            found.append(float(sampler.ask(number)["lr@position"]))
            if found[-1] > 0.7:
                sampler.tell(number, "infeasible")
            else:
                sampler.tell(number, "scored", found[-1])
        late = found[num_trials // 2 :]
        means[this] = sum(value for value in late if value <= 0.7) / len(late)
    assert means[name] > means["random"] + 0.05


def test_qmc_covers_a_space_more_evenly_than_chance() -> None:
    cells: dict[str, set[int]] = {}
    for name in ("random", "qmc"):
        sampler = make_sampler(name, NUMBERS, mode="max", seed=2)
        cells[name] = set()
        for number in range(33):  # the first one is drawn at random
            position = float(sampler.ask(number)["lr@position"])
            cells[name].add(int(32 * position))
            sampler.tell(number, "scored", position)
    assert len(cells["qmc"]) == 32
    assert len(cells["random"]) < 26


def test_a_grid_is_tried_once_each_in_a_seeded_order_and_then_ends() -> None:
    first, second, other = (make_sampler("grid", SPACE, mode="max", seed=seed) for seed in (0, 0, 1))
    size = grid_size(SPACE)
    asked = [first.ask(number) for number in range(size)]
    assert {on_grid(SPACE, positions) for positions in asked} == {on_grid(SPACE, point) for point in grid(SPACE)}
    assert first.exhausted
    with pytest.raises(RecipeError, match="has been tried"):
        first.ask(size)
    assert [second.ask(number) for number in range(30)] == asked[:30]
    assert other.ask(0) != asked[0]


def test_a_grid_skips_what_was_given_and_goes_on_after_a_replay() -> None:
    whole, resumed = (make_sampler("grid", SPACE, mode="max", seed=0) for _ in range(2))
    start = grid(SPACE)[5]
    off_grid = make_sampler("random", SPACE, mode="max", seed=1).ask(0)
    asked = [whole.ask(0, at=start), whole.ask(1, at=off_grid)]
    while not whole.exhausted:
        asked.append(whole.ask(len(asked)))
        whole.tell(len(asked) - 1, "infeasible")
    assert asked.count(start) == 1
    assert len(asked) == grid_size(SPACE) + 1
    for number in range(40):
        resumed.ask(number, at=asked[number])
    assert [resumed.ask(number) for number in range(40, 60)] == asked[40:60]


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
    sampler = make_sampler("tpe", SPACE, mode="max", seed=0)
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


ODD = Space(
    dimensions=(
        Dimension(name="mixed", kind="choices", choices=(1, True, 1.0, "1")),
        Dimension(name="one_choice", kind="choices", choices=(5,)),
        Dimension(name="one_int", kind="int", low=3.0, high=3.0),
        Dimension(name="one_float", kind="float", low=2.0, high=2.0),
        Dimension(name="int", kind="int", low=1.0, high=100.0, log=True),
        Dimension(name="float", kind="float", low=1e-4, high=1.0, log=True),
    ),
    constants={},
)


@pytest.mark.parametrize("space", [SPACE, ODD])
def test_random_draws_are_those_of_a_random_trial_of_optunas(space: Space) -> None:
    ours = RandomSampler(space, seed=3)
    for number in range(40):
        study = create_study("max")
        study.sampler = optuna.samplers.RandomSampler(seed=numpy_seed(derive_seed(3, number, "sampler")))
        trial = study.ask()
        draw(space, partial(suggest, trial))
        assert repr(ours.ask(number)) == repr(trial.params)  # to the bit, and of the same types


def test_tpe_decides_as_if_it_looked_for_what_all_trials_share_at_every_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    def asks() -> list[Positions]:
        sampler = TPESampler(SPACE, mode="max", seed=5)
        asked: list[Positions] = []
        for number in range(45):
            if number >= 6:  # six run at a time, and end in another order than they began
                ended = number - 6 + (1 if number % 2 == 0 else -1)
                tell(sampler, ended, asked[ended])
            asked.append(sampler.ask(number))
        return asked

    kept = asks()
    found_anew = optuna.samplers.TPESampler.infer_relative_search_space
    monkeypatch.setattr("probe.search.samplers.tpe._CachedTPESampler.infer_relative_search_space", found_anew)
    assert asks() == kept


def test_a_long_searchs_tpe_forgets_alike_when_it_is_replayed_and_stays_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probe.search.samplers.limits.WINDOW", 60)
    monkeypatch.setattr("probe.search.samplers.limits.KEPT_BEST", 15)
    monkeypatch.setattr("probe.search.samplers.limits.KEPT_LATEST", 15)
    monkeypatch.setattr("probe.search.samplers.limits.MIN_FORGOTTEN", 15)
    whole, resumed = (TPESampler(SPACE, mode="max", seed=3) for _ in range(2))
    asked = []
    sizes = []
    for number in range(130):
        asked.append(whole.ask(number))
        tell(whole, number, asked[-1])
        sizes.append(len(whole._asked))
    assert max(sizes) <= 62  # one more of ours, and one that is running
    assert sizes.count(31) == 1 + 3  # on the way up; then 30 that were kept and the one just asked for, three times
    for number in range(100):
        resumed.ask(number, at=asked[number])
        tell(resumed, number, asked[number])
    assert [resumed.ask(100)] == [asked[100]]
    scored = [n for n in range(100) if n % 7 != 3 and n % 11 != 5 and n % 13 != 6]
    best = max(scored, key=lambda n: 1 + n % 3 - goodness(asked[n]) if n % 5 == 1 else goodness(asked[n]))
    assert asked[best] in whole._asked.values()
    whole.tell(0, "infeasible")  # nothing to say of one that was forgotten
