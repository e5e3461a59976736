"""Importance, told apart from chance: silence on noise, with the stated false-alarm probability, and real effects found."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from probe.recipe.when import Bounds
from probe.search.analysis.importance import FALSE_ALARMS, MAX_TRIALS, importance
from probe.search.records.search import MIN_COMPARED_TRIALS, Dimension, ParamValue
from probe.search.samplers.registry import make_sampler
from probe.search.space.space import Positions, Space, draw, random_suggest

SPACE = Space(
    dimensions=(
        Dimension(name="lr", kind="float", low=1e-5, high=1e-1, log=True),
        Dimension(name="width", kind="pow2", low=8, high=256),
        Dimension(name="optimizer", kind="choices", choices=("sgd", "adam", "rmsprop")),
        Dimension(name="dropout", kind="float", low=0.0, high=0.5),
        Dimension(name="momentum", kind="float", low=0.0, high=1.0, when={"optimizer": "sgd"}),
    ),
    constants={},
)
Effect = Callable[[Positions], float]
Scored = list[tuple[dict[str, ParamValue], float]]


def searched(effect: Effect, *, seed: int, num_trials: int, noise: float = 1.0, sampler: str | None = None) -> Scored:
    """Trials at random, or where a sampler that learns from their scores puts them."""
    suggest, generator = random_suggest(seed), random.Random(seed)
    asked = None if sampler is None else make_sampler(sampler, SPACE, mode="max", seed=seed)
    found: Scored = []
    for number in range(num_trials):
        positions = draw(SPACE, suggest) if asked is None else dict(asked.ask(number))
        score = effect(positions) + generator.gauss(0, noise)
        if asked is not None:
            asked.tell(number, "scored", score)
        found.append((positions, score))
    return found


def nothing(positions: Positions) -> float:
    return 0.0


def place_of_lr(positions: Positions) -> float:
    """0 at the lowest, 1 at the highest."""
    return (math.log10(float(positions["lr"])) + 5) / 4


def best_inside(positions: Positions) -> float:
    return -7 * abs(place_of_lr(positions) - 0.6)


def only_with_sgd(positions: Positions) -> float:
    return 6 * float(positions["momentum"]) if "momentum" in positions else 3.0


@pytest.mark.parametrize(("sampler", "num_trials", "num_searches"), [(None, 12, 200), (None, 30, 150), ("tpe", 20, 15)])
def test_noise_is_silence_in_95_of_100_searches(sampler: str | None, num_trials: int, num_searches: int) -> None:
    alarms = sum(
        bool(importance(SPACE.dimensions, searched(nothing, seed=seed, num_trials=num_trials, sampler=sampler)))
        for seed in range(num_searches)
    )
    # A binomial count with this probability is above this bound in less than one of a thousand tests.
    bound = FALSE_ALARMS + 3.1 * math.sqrt(FALSE_ALARMS * (1 - FALSE_ALARMS) / num_searches)
    assert alarms / num_searches <= bound


@pytest.mark.parametrize(("sampler", "num_searches"), [(None, 40), ("tpe", 8)])
@pytest.mark.parametrize(("effect", "num_trials"), [(lambda p: 6 * place_of_lr(p), 20), (best_inside, 30)])
def test_a_learning_rate_that_matters_is_found(
    effect: Effect, num_trials: int, sampler: str | None, num_searches: int
) -> None:
    found = [
        importance(SPACE.dimensions, searched(effect, seed=seed, num_trials=num_trials, sampler=sampler)) or {}
        for seed in range(num_searches)
    ]
    assert sum("lr" in shares for shares in found) >= 0.85 * num_searches
    others = sum(len(shares.keys() - {"lr"}) for shares in found)
    assert others <= 0.15 * num_searches


def test_choices_and_what_only_some_trials_have() -> None:
    shares = importance(SPACE.dimensions, searched(only_with_sgd, seed=1, num_trials=90, noise=0.3))
    assert shares is not None
    assert 0.5 < shares["momentum"].share < 1
    num_sgd = shares["momentum"].num_trials
    assert (shares["momentum"].is_partial, shares["momentum"].num_compared) == (True, 90)
    assert 10 < num_sgd < 60
    by_optimizer = importance(
        SPACE.dimensions, searched(lambda p: 2.0 * (p["optimizer"] == "adam"), seed=2, num_trials=30, noise=0.5)
    )
    assert by_optimizer is not None
    assert list(by_optimizer) == ["optimizer"]
    assert by_optimizer["optimizer"].num_trials == by_optimizer["optimizer"].num_compared == 30
    assert 0.5 < by_optimizer["optimizer"].share <= 1


def test_shares_of_two_effects_are_parts_of_one_whole_and_the_larger_one_comes_first() -> None:
    scored = searched(
        lambda p: 8 * place_of_lr(p) + 0.5 * float(p["log2_width"]), seed=3, num_trials=MAX_TRIALS + 50, noise=0.2
    )
    shares = importance(SPACE.dimensions, scored)
    assert shares is not None
    assert list(shares)[:2] == ["lr", "width"]
    assert 0.5 < shares["lr"].share < sum(one.share for one in shares.values()) <= 1
    assert importance(SPACE.dimensions, scored) == shares


def test_shares_do_not_depend_on_the_scale_of_the_scores() -> None:
    scored = searched(best_inside, seed=4, num_trials=40)
    cubed = [(positions, 1e6 * score**3) for positions, score in scored]
    assert importance(SPACE.dimensions, cubed) == importance(SPACE.dimensions, scored)


def test_too_few_trials_are_none_and_equal_scores_are_silence() -> None:
    scored = searched(best_inside, seed=0, num_trials=40)
    assert importance(SPACE.dimensions, scored[: MIN_COMPARED_TRIALS - 1]) is None
    assert importance(SPACE.dimensions, [(positions, 1.0) for positions, _ in scored]) == {}
    assert importance(SPACE.dimensions, [(scored[0][0], score) for _, score in scored]) == {}
    assert importance((), scored) == {}


CONDITIONAL = Space(
    dimensions=(
        Dimension(name="lr", kind="float", low=1e-5, high=1e-1, log=True),
        Dimension(name="optimizer", kind="choices", choices=("sgd", "nesterov", "adam", "rmsprop")),
        Dimension(name="momentum", kind="float", low=0.0, high=1.0, when={"optimizer": ("sgd", "nesterov")}),
        Dimension(name="beta", kind="float", low=0.0, high=1.0, when={"optimizer": "adam"}),
        Dimension(name="depth", kind="int", low=1, high=6),
        Dimension(name="dropout", kind="float", low=0.0, high=0.5, when={"depth": Bounds(min=3)}),
    ),
    constants={},
)


def drawn(effect: Effect, *, seed: int, num_trials: int, sgd: float = 0.25, space: Space = CONDITIONAL) -> Scored:
    """Random trials, the share `sgd` of them with sgd."""
    suggest, generator = random_suggest(seed), random.Random(seed)
    found: Scored = []
    while len(found) < num_trials:
        wanted = "sgd" if generator.random() < sgd else generator.choice(("adam", "rmsprop"))
        positions = draw(space, lambda axis, w=wanted: w if axis.name == "optimizer" else suggest(axis))  # type: ignore[misc]
        found.append((positions, effect(positions) + generator.gauss(0, 1)))
    return found


def momentum_helps_sgd(positions: Positions) -> float:
    """Which is far ahead."""
    return 10 + 4 * float(positions["momentum"]) if positions["optimizer"] == "sgd" else 0.0


@pytest.mark.parametrize(
    "effect",
    [
        nothing,
        lambda positions: 3.0 * (positions["optimizer"] == "sgd"),
        lambda positions: 1.2 * float(positions["depth"]) - 5 * abs(place_of_lr(positions) - 0.6),
    ],
)
def test_what_exists_under_conditions_raises_no_more_false_alarms(effect: Effect) -> None:
    num_searches = 100
    alarms = sum(
        bool({"momentum", "beta", "dropout"} & (importance(CONDITIONAL.dimensions, scored) or {}).keys())
        for scored in (drawn(effect, seed=seed, num_trials=40) for seed in range(num_searches))
    )
    assert alarms / num_searches <= FALSE_ALARMS + 3.1 * math.sqrt(FALSE_ALARMS * (1 - FALSE_ALARMS) / num_searches)


def test_a_share_does_not_depend_on_how_often_the_condition_was_met() -> None:
    """As a share of all trials' variation it would be many times as large where the sampler prefers sgd."""
    found = []
    for sgd in (0.25, 0.8):
        scored = [drawn(momentum_helps_sgd, seed=seed, num_trials=120, sgd=sgd, space=SPACE) for seed in range(4)]
        all_found = [importance(SPACE.dimensions, one) or {} for one in scored]
        assert all(set(one) >= {"optimizer", "momentum"} for one in all_found)
        assert all(
            one["momentum"].num_trials == sum("momentum" in p for p, _ in s)
            for one, s in zip(all_found, scored, strict=True)
        )
        found.append(sum(one["momentum"].share for one in all_found) / len(all_found))
    assert 0.35 < min(found) < max(found) < 0.65


def test_the_effect_of_a_condition_is_not_put_down_to_what_exists_with_it() -> None:
    """Dropout grows with the depth that it depends on, as where a sampler has learned to take much of both."""
    alarms = 0
    for seed in range(40):
        generator = random.Random(seed)
        scored: Scored = []
        for positions, _ in drawn(nothing, seed=seed, num_trials=60):
            depth = int(positions["depth"])
            if depth >= 3:
                positions["dropout"] = min(0.5, max(0.0, 0.1 * (depth - 2) + generator.gauss(0, 0.05)))
            scored.append((positions, depth + generator.gauss(0, 1)))
        found = importance(CONDITIONAL.dimensions, scored)
        assert found is not None
        assert "depth" in found
        alarms += "dropout" in found
    assert alarms <= 5
