"""How an LR probe spends its training steps. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from probe.errors import UsageError
from probe.lr.confirm import OFFSETS_DECADES
from probe.lr.records import Depth
from probe.lr.suggest import MIN_STEPS

RAMP_STEPS: dict[Depth, int] = {"range_test": 300, "short": 200, "full": 100}
"""Of one range test. Where runs follow, it only has to find out where."""
SHORT_RUN_STEPS = 100
FULL_RUN_SHARE = 0.25
"""Of the horizon, for each run of a full confirmation."""
ASSUMED_HORIZON_STEPS = 500
"""Where nobody says how long the training will be."""
Confirm = bool | str
"""False, True or "full"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LrPlan:
    """Range tests first, then runs at constant learning rates."""

    depth: Depth
    lowest_lr: float
    highest_lr: float
    ramp_steps: int
    """Of each range test."""
    repeats: int
    """Range tests, each with its own seed."""
    num_runs: int
    run_steps: int
    """Of each run."""

    @property
    def max_steps(self) -> int:
        """Training steps, where nothing ends early."""
        return self.ramp_steps * self.repeats + self.num_runs * self.run_steps


def plan_probe(
    *,
    lowest_lr: float,
    highest_lr: float,
    steps: int | None,
    repeats: int,
    confirm: Confirm,
    horizon: int,
) -> LrPlan:
    """What `find_lr` does with these arguments; `horizon` in steps. Raises UsageError for values out of range."""
    if not (math.isfinite(lowest_lr) and math.isfinite(highest_lr) and 0 < lowest_lr < highest_lr):
        raise UsageError(
            f"A range test must climb from a positive learning rate to a higher one, not from {lowest_lr:g} to {highest_lr:g}.",
            hint="The usual ramp is --from 1e-5 --to 10.",
        )
    if steps is not None and steps < MIN_STEPS:
        raise UsageError(
            f"A range test needs at least {MIN_STEPS} steps to be smoothed, not {steps}.", hint="300 steps are usual."
        )
    for name, value in (("repeats", repeats), ("horizon", horizon)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{name} must be a whole number of at least 1, not {value!r}.")
    depth = depth_of(confirm)
    return LrPlan(
        depth=depth,
        lowest_lr=lowest_lr,
        highest_lr=highest_lr,
        ramp_steps=steps or RAMP_STEPS[depth],
        repeats=repeats,
        num_runs=0 if depth == "range_test" else len(OFFSETS_DECADES),
        run_steps=_run_steps(depth, horizon),
    )


def depth_of(confirm: Confirm) -> Depth:
    """Raises UsageError for anything but False, True and "full"."""
    if confirm is False:
        return "range_test"
    if confirm is True:
        return "short"
    if confirm == "full":
        return "full"
    raise UsageError(f"confirm must be False, True or 'full', not {confirm!r}.")


def _run_steps(depth: Depth, horizon: int) -> int:
    if depth == "range_test":
        return 0
    if depth == "short":
        return min(SHORT_RUN_STEPS, horizon)
    return max(1, math.ceil(FULL_RUN_SHARE * horizon))
