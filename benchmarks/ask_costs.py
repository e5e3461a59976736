"""Processor time that samplers take to choose a configuration in a long search, compared with Optuna's Gaussian process.

Used by `search_overhead.py --asks`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from probe.search.records.search import ParamValue
from probe.search.samplers.optuna_samplers import RandomSampler, distribution
from probe.search.samplers.registry import make_sampler
from probe.search.space.space import Space, axis_of
from probe.seeds import derive_seed

NUM_RUNGS = 3
FACTOR = 3
NUM_RUNS = 5
PEER = "Optuna's GPSampler"
MAX_PEER_TRIALS = 100
"""Largest number of trials for the peer. With 1,000, each of its asks takes minutes."""


@dataclass(frozen=True, kw_only=True)
class AskCost:
    """Time of one ask in seconds."""

    processor: float
    wall: float


def ask_costs(name: str, space: Space, num_trials: int) -> list[AskCost]:
    """Times of NUM_RUNS asks after `num_trials` trials, one of FACTOR of which was promoted from each rung."""
    make = _peer if name == PEER else _ours
    ask = make(name, space, _history(space, num_trials))
    return [_timed(ask) for _ in range(NUM_RUNS)]


def rows(names: Sequence[str], space: Space, marks: Sequence[int]) -> list[str]:
    lines = [
        "| sampler | trials seen | processor time of an ask, median of five | largest | wall-clock time, median |",
        "|---|--:|--:|--:|--:|",
    ]
    for name in names:
        for mark in marks:
            if name == PEER and mark > MAX_PEER_TRIALS:
                continue
            costs = ask_costs(name, space, mark)
            processor = [1000 * cost.processor for cost in costs]
            wall = statistics.median(1000 * cost.wall for cost in costs)
            lines.append(
                f"| {name} | {mark:,} | {statistics.median(processor):.1f} ms | {max(processor):.1f} ms | {wall:.1f} ms |"
            )
    return lines


def _history(space: Space, num_trials: int) -> list[tuple[dict[str, ParamValue], list[float]]]:
    """Positions and scores of trials: noise on a slope, with better scores on higher rungs."""
    sampler = RandomSampler(space, seed=0)
    found = []
    for number in range(num_trials):
        positions = sampler.ask(number)
        quality = derive_seed(0, number, "quality") / 2**63 + 0.2 * sum(
            isinstance(position, float) and position < 0.1 for position in positions.values()
        )
        num_scores = 1 + sum(number % FACTOR**rung == 0 for rung in range(1, NUM_RUNGS))
        found.append((positions, [quality + 0.3 * rung for rung in range(num_scores)]))
    return found


def _ours(name: str, space: Space, history: list[tuple[dict[str, ParamValue], list[float]]]) -> Callable[[], object]:
    sampler = make_sampler(name, space, mode="max", seed=0, num_rungs=NUM_RUNGS)
    for number, (positions, scores) in enumerate(history):
        sampler.ask(number, at=positions)
        for score in scores:
            sampler.tell(number, "scored", score)
    numbers = iter(range(len(history), len(history) + NUM_RUNS))

    def ask() -> None:
        number = next(numbers)
        sampler.ask(number)
        sampler.tell(number, "scored", 0.5)

    return ask


def _peer(name: str, space: Space, history: list[tuple[dict[str, ParamValue], list[float]]]) -> Callable[[], object]:
    """An ask of the peer, which knows the last score of every trial."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.GPSampler(seed=0))
    distributions = {axis.name: distribution(axis) for axis in map(axis_of, space.dimensions)}
    for positions, scores in history:
        study.add_trial(optuna.trial.create_trial(params=positions, distributions=distributions, value=scores[-1]))

    def ask() -> None:
        study.tell(study.ask(distributions), 0.5)

    return ask


def _timed(ask: Callable[[], object]) -> AskCost:
    processor, wall = time.process_time(), time.perf_counter()
    ask()
    return AskCost(processor=time.process_time() - processor, wall=time.perf_counter() - wall)
