"""What may still be spent. Pure: limits and counts in, permissions out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from probe.search.records.search import BudgetLimits
from probe.search.schedulers.protocol import Outlook, Promotion, Scheduler

PROBE_SHARE = 0.1
"""Of the epochs, for all probes together: at most."""
USUAL_PROBE_SHARE = 0.05
"""What they take of it where that is enough: an epoch more for a range test is a trial less."""
LR_STEPS = 300
"""Of a range test that the budget does not shorten."""
MIN_PROBE_STEPS = 40
"""A range test over six decades with fewer steps jumps by more than 40 % a step and suggests at random."""

MIN_PROBE_SAMPLES = 3000
"""A range test that sees fewer often finds no fall of the loss beyond its noise."""

TIME_MARGIN = 2.0
"""Of what is left of the time, over what the mean pace so far makes of it: later trials may be faster."""

ROUNDING = 1e-9
"""Of sums of epochs."""
Limit = Literal["trials", "epochs", "time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What is spent and promised. Epochs of running jobs are promised, those of finished ones and of the probes are spent."""

    trials: int = 0
    spent_epochs: float = 0.0
    promised_epochs: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTrial:
    """Ask the sampler for a configuration and train it to the end of the first rung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Measured seconds an epoch of the budget: `typical` over all trials so far, None before the first epoch."""

    typical_seconds: float | None = None


def epochs_left(limits: BudgetLimits, usage: Usage) -> float:
    """Epochs that no job has spent or been promised."""
    if limits.epochs is None:
        return math.inf
    return limits.epochs - usage.spent_epochs - usage.promised_epochs


def next_step(
    scheduler: Scheduler, limits: BudgetLimits, usage: Usage, *, pace: Pace | None = None, can_ask: bool = True
) -> NewTrial | Promotion | None:
    """What a free slot should do; None: nothing that the budget allows.

    Promotions by the published rule come first, then new trials. New trials stop while enough epochs are left for one last
    climb to the top (or a third of the whole budget, where that is less): a trial that can never climb is only worth
    asking for when nothing else fits. From there on, and when the trials are used up, the paused ones nearest to the top
    climb, so that the search does not end with its best configuration half trained.

    `can_ask` is False where the space is exhausted or new trials are not wanted.
    """
    affordable = min(epochs_left(limits, usage), _epochs_in_time(limits, usage, pace))
    if limits.time_seconds is not None and usage.seconds >= limits.time_seconds:
        return None
    promotion = scheduler.next_promotion(max_epochs=affordable)
    if promotion is not None:
        return promotion
    asks_left = can_ask and (limits.trials is None or usage.trials < limits.trials)
    fits = scheduler.epochs_between(0) <= affordable
    reserve = _reserve(scheduler, limits, pace)
    if asks_left and fits and affordable - scheduler.epochs_between(0) >= reserve:
        return NewTrial()
    promotion = scheduler.next_promotion(max_epochs=affordable, rule="closing")
    if promotion is None and asks_left:
        promotion = scheduler.next_promotion(max_epochs=affordable, rule="open")
    if promotion is not None:
        return promotion
    return NewTrial() if asks_left and fits else None


def outlook(
    scheduler: Scheduler,
    limits: BudgetLimits,
    usage: Usage,
    *,
    pace: Pace | None = None,
    num_slots: int = 1,
    max_new: float = math.inf,
    prices: Sequence[float],
    on_the_way: Mapping[int, int],
) -> Outlook:
    """What the budget still allows, at most.

    `usage`: without what running jobs were promised, which may come back, and without what they have spent, which comes back
    where the search is stopped and goes on. `max_new`: new trials that the space still has.

    What time allows is an estimate: TIME_MARGIN times what all slots train at the mean pace so far.
    """
    in_time = TIME_MARGIN * num_slots * _epochs_in_time(limits, usage, pace)
    epochs = math.inf if limits.epochs is None else limits.epochs - usage.spent_epochs
    new_trials = min(max_new, math.inf if limits.trials is None else limits.trials - usage.trials)
    open_epochs = 0.0
    if new_trials > 0 and min(epochs, in_time) < math.inf:
        reserve = _reserve(scheduler, limits, pace) + scheduler.epochs_between(0)
        in_reserve = reserve if math.isinf(in_time) else TIME_MARGIN * num_slots * reserve
        open_epochs = min(epochs, in_time, in_reserve + usage.promised_epochs)
    return Outlook(
        first_new=usage.trials,
        new_trials=max(0, new_trials),
        epochs=max(0.0, min(epochs, in_time)) + ROUNDING,
        open_epochs=max(0.0, open_epochs) + ROUNDING,
        prices=prices,
        on_the_way=on_the_way,
    )


def reached_limit(
    scheduler: Scheduler, limits: BudgetLimits, usage: Usage, *, pace: Pace | None = None
) -> Limit | None:
    """Which limit ends a search that has nothing left to do and nothing running; None: none of them does."""
    if limits.time_seconds is not None and (
        usage.seconds >= limits.time_seconds or _epochs_in_time(limits, usage, pace) < scheduler.epochs_between(0)
    ):
        return "time"
    if limits.trials is not None and usage.trials >= limits.trials:
        return "trials"
    if epochs_left(limits, usage) < scheduler.epochs_between(0):
        return "epochs"
    return None


def probe_allowance(limits: BudgetLimits, *, first_rung_epochs: float, share: float = PROBE_SHARE) -> float:
    """Epochs that all probes together may spend: `share` of the budget, but so much less that a first trial can be paid."""
    if limits.epochs is None:
        return math.inf
    return max(0.0, min(share * limits.epochs, limits.epochs - first_rung_epochs))


def probe_steps(
    *,
    limits: BudgetLimits,
    first_rung_epochs: float,
    spent_epochs: float,
    num_probes: int,
    batch_size: int,
    num_train_samples: int,
    wanted: int,
) -> int:
    """Steps that each of `num_probes` range tests may take: `wanted`, less where a twentieth of the epochs does not pay for
    them, but up to a tenth of the epochs where they would be fewer than MIN_PROBE_STEPS or MIN_PROBE_SAMPLES samples. 0 where
    a tenth does not pay for MIN_PROBE_STEPS.
    """
    if limits.epochs is None:
        return wanted
    allowed = (
        probe_allowance(limits, first_rung_epochs=first_rung_epochs, share=share)
        for share in (PROBE_SHARE, USUAL_PROBE_SHARE)
    )
    most, usual = (
        math.floor((epochs - spent_epochs) / max(1, num_probes) * num_train_samples / batch_size) for epochs in allowed
    )
    enough = max(MIN_PROBE_STEPS, math.ceil(MIN_PROBE_SAMPLES / batch_size))
    return min(wanted, max(usual, min(most, enough))) if most >= min(wanted, MIN_PROBE_STEPS) else 0


def steps_in_epochs(*, num_steps: int, batch_size: int, num_train_samples: int) -> float:
    """What `num_steps` training steps cost in epochs, by the samples they saw."""
    return num_steps * batch_size / num_train_samples


def _reserve(scheduler: Scheduler, limits: BudgetLimits, pace: Pace | None) -> float:
    """Epochs below which no new trial starts while a paused one can climb."""
    if len(scheduler.rungs) == 1:
        return 0.0
    return min(scheduler.epochs_between(scheduler.top), _whole_epochs(limits, pace) / 3)


def _whole_epochs(limits: BudgetLimits, pace: Pace | None) -> float:
    """The whole budget in epochs."""
    whole = math.inf if limits.epochs is None else limits.epochs
    return min(whole, _epochs_in_time(limits, Usage(), pace))


def _epochs_in_time(limits: BudgetLimits, usage: Usage, pace: Pace | None) -> float:
    if limits.time_seconds is None or pace is None or pace.typical_seconds is None:
        return math.inf
    return (limits.time_seconds - usage.seconds) / max(pace.typical_seconds, 1e-9)
