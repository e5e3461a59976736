"""Makes schedulers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from probe.recipe.schema import SchedulerName
from probe.search.records.objective import Mode
from probe.search.schedulers.asha import AsynchronousSuccessiveHalving
from probe.search.schedulers.hyperband import Hyperband
from probe.search.schedulers.protocol import Scheduler
from probe.search.schedulers.successive_halving import SuccessiveHalving

SCHEDULERS: Mapping[SchedulerName, Callable[..., Scheduler]] = {
    "none": AsynchronousSuccessiveHalving,  # with a single rung, nothing is promoted
    "halving": SuccessiveHalving,
    "asha": AsynchronousSuccessiveHalving,
    "hyperband": Hyperband,
}
"""Each scheduler's class. It takes the arguments of `make_scheduler`."""


def make_scheduler(
    name: SchedulerName, rungs: Sequence[int], *, factor: int, mode: Mode, costs: Sequence[float] | None = None
) -> Scheduler:
    """Make a scheduler.

    Args:
        name: a key of SCHEDULERS.
        rungs: the rungs in ascending order; a single one for `none`.
        factor: one trial in `factor` is promoted from each rung.
        mode: whether the largest or the smallest score is best.
        costs: cost in epochs of training to each rung; by default the difference between rungs.
    """
    return SCHEDULERS[name](rungs, factor=factor, mode=mode, costs=costs)
