"""What an LR probe spends: how long the planned training is, and how many steps the range tests and runs take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from probe.errors import UsageError
from probe.loading.dataset import is_unbounded, num_samples
from probe.loading.epoch_batches import count_batches
from probe.lr.confirm import OFFSETS_DECADES
from probe.lr.records import Depth
from probe.lr.suggest import MIN_STEPS
from probe.task import Task
from probe.training.settings import TrainerSettings, mean_lr_factor

RAMP_STEPS: dict[Depth, int] = {"range_test": 300, "short": 200, "full": 100}
"""Steps of one range test. If runs follow, the range test only has to locate them."""
SHORT_RUN_STEPS = 100
FULL_RUN_FRACTION = 0.25
"""Length of each run of a full confirmation, as a fraction of the planned training."""
ASSUMED_TRAINING_STEPS = 500
"""Planned training steps if neither steps nor epochs are given."""
Confirm = bool | str
"""False, True or "full"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLength:
    """Length of the training that a learning rate is wanted for."""

    num_steps: int
    is_assumed: bool
    effective_steps: float
    """Sum of the schedule's factors over all steps: steps at the peak learning rate with the same sum of learning rates."""
    passes: float
    """Passes over the training data in `effective_steps` steps; 0 for unbounded data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LrPlan:
    """Range tests first, then runs at constant learning rates."""

    depth: Depth
    lowest_lr: float
    highest_lr: float
    ramp_steps: int
    repeats: int
    """Number of range tests, each with its own seed."""
    num_runs: int
    run_steps: int

    @property
    def max_steps(self) -> int:
        """Training steps if nothing ends early."""
        return self.ramp_steps * self.repeats + self.num_runs * self.run_steps

    def phase_of_test(self, number: int) -> str:
        """Name of a range test, for its progress."""
        return "range test" if self.repeats == 1 else f"range test {number + 1} of {self.repeats}"


def training_length(task: Task, settings: TrainerSettings, *, steps: int | None, has_epochs: bool) -> TrainingLength:
    """Return the length of the planned training: `steps`, else the settings' epochs if `has_epochs`, else an assumption."""
    num_train = num_samples(task.train)
    per_epoch = count_batches(num_train, settings.batch_size, training=True)
    num_steps = steps if steps is not None else settings.epochs * per_epoch if has_epochs else ASSUMED_TRAINING_STEPS
    effective_steps = max(1.0, num_steps * mean_lr_factor(settings.lr_schedule, num_steps))
    return TrainingLength(
        num_steps=num_steps,
        is_assumed=steps is None and not has_epochs,
        effective_steps=effective_steps,
        passes=0.0 if is_unbounded(task.train) else effective_steps * settings.batch_size / num_train,
    )


def plan_probe(
    *,
    lowest_lr: float,
    highest_lr: float,
    steps: int | None,
    repeats: int,
    confirm: Confirm,
    training_steps: int,
) -> LrPlan:
    """Return what `find_lr` spends with these arguments. Raises UsageError if one is out of range."""
    if not (math.isfinite(lowest_lr) and math.isfinite(highest_lr) and 0 < lowest_lr < highest_lr):
        raise UsageError(
            f"The learning rates of a range test must be positive and increasing, not from {lowest_lr:g} to {highest_lr:g}.",
            hint="The usual range is --from 1e-5 --to 10.",
        )
    if steps is not None and steps < MIN_STEPS:
        raise UsageError(
            f"A range test needs at least {MIN_STEPS} steps, not {steps}.", hint="The default is 300 steps."
        )
    for name, value in (("repeats", repeats), ("training_steps", training_steps)):
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
        run_steps=_run_steps(depth, training_steps),
    )


def depth_of(confirm: Confirm) -> Depth:
    """Return the depth that `confirm` stands for. Raises UsageError for anything but False, True and "full"."""
    if confirm is False:
        return "range_test"
    if confirm is True:
        return "short"
    if confirm == "full":
        return "full"
    raise UsageError(f"confirm must be False, True or 'full', not {confirm!r}.")


def _run_steps(depth: Depth, training_steps: int) -> int:
    if depth == "range_test":
        return 0
    if depth == "short":
        return min(SHORT_RUN_STEPS, training_steps)
    return max(1, math.ceil(FULL_RUN_FRACTION * training_steps))
