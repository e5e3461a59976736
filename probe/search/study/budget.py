"""What may still be spent, and what comes next: a promotion or a new trial. Pure functions of limits and counts.

`pace` is the mean seconds per epoch of the budget over all trials so far; None before the first epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from probe.search.records.search import BudgetLimits
from probe.search.schedulers.protocol import Outlook, Promotion, Scheduler

MAX_PROBE_FRACTION = 0.1
"""Largest fraction of the budget's epochs for all probes together."""
USUAL_PROBE_FRACTION = 0.05
"""Fraction that the probes take if it is enough: epochs spent on probes are missing for trials."""
LR_STEPS = 300
"""Steps of a range test that the budget does not shorten."""
MIN_PROBE_STEPS = 40
"""Fewest steps of a range test. With fewer over six decades, the learning rate grows by more than 40 % a step."""
MIN_PROBE_SAMPLES = 3000
"""Fewest samples of a range test. With fewer, a decrease of the loss is often lost in its noise."""
TIME_MARGIN = 2.0
"""Factor on the number of epochs that the remaining time allows at the mean pace: later trials may be faster."""
ROUNDING = 1e-9
Limit = Literal["trials", "epochs", "time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a search has used so far."""

    trials: int = 0
    spent_epochs: float = 0.0
    """Epochs spent by jobs and by the probes."""
    promised_epochs: float = 0.0
    """Epochs that running jobs may still spend."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTrial:
    """Decision to start a new trial and train it to the first rung."""


def epochs_left(limits: BudgetLimits, usage: Usage) -> float:
    """Return the epochs that are neither spent nor promised; infinity without a limit."""
    if limits.epochs is None:
        return math.inf
    return limits.epochs - usage.spent_epochs - usage.promised_epochs


def next_step(
    scheduler: Scheduler, limits: BudgetLimits, usage: Usage, *, pace: float | None = None, can_ask: bool = True
) -> NewTrial | Promotion | None:
    """Return what a free slot does next; None if the budget allows nothing. `can_ask` is False if the space is
    exhausted.

    Promotions by the published rule come first, then new trials. No new trials start once the remaining epochs are
    needed for a last promotion to the top rung (or a third of the whole budget, if that is less), since they could not
    be promoted. From then on, and when all trials are used up, the paused trials on the highest rung are promoted, so
    that the search does not end with its best configuration half trained.
    """
    affordable = min(epochs_left(limits, usage), _epochs_in_time(limits, usage, pace))
    if limits.time_seconds is not None and usage.seconds >= limits.time_seconds:
        return None
    promotion = scheduler.next_promotion(max_epochs=affordable)
    if promotion is not None:
        return promotion
    asks_left = can_ask and (limits.trials is None or usage.trials < limits.trials)
    fits = scheduler.costs[0] <= affordable
    reserve = _reserve(scheduler, limits, pace)
    if asks_left and fits and affordable - scheduler.costs[0] >= reserve:
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
    pace: float | None = None,
    num_slots: int = 1,
    max_new: float = math.inf,
    prices: Sequence[float],
    on_the_way: Mapping[int, int],
) -> Outlook:
    """Return upper bounds on what the rest of the budget allows.

    `usage` leaves out what running jobs have spent, which is refunded if the search is resumed. `max_new` is the number
    of new trials that the space still has. `prices` and `on_the_way` are those of Outlook. The epochs that the
    remaining time allows are an estimate: TIME_MARGIN times what all slots train at the mean pace.
    """
    in_time = TIME_MARGIN * num_slots * _epochs_in_time(limits, usage, pace)
    epochs = math.inf if limits.epochs is None else limits.epochs - usage.spent_epochs
    new_trials = min(max_new, math.inf if limits.trials is None else limits.trials - usage.trials)
    open_epochs = 0.0
    if new_trials > 0 and min(epochs, in_time) < math.inf:
        reserve = _reserve(scheduler, limits, pace) + scheduler.costs[0]
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
    scheduler: Scheduler, limits: BudgetLimits, usage: Usage, *, pace: float | None = None
) -> Limit | None:
    """Return the limit that ends a search in which nothing runs and nothing is left to do; None if no limit does."""
    if limits.time_seconds is not None and (
        usage.seconds >= limits.time_seconds or _epochs_in_time(limits, usage, pace) < scheduler.costs[0]
    ):
        return "time"
    if limits.trials is not None and usage.trials >= limits.trials:
        return "trials"
    if epochs_left(limits, usage) < scheduler.costs[0]:
        return "epochs"
    return None


def probe_allowance(limits: BudgetLimits, *, first_rung_epochs: float, fraction: float = MAX_PROBE_FRACTION) -> float:
    """Return the epochs that all probes together may spend, which leave enough for a first trial."""
    if limits.epochs is None:
        return math.inf
    return max(0.0, min(fraction * limits.epochs, limits.epochs - first_rung_epochs))


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
    """Return the number of steps for each of `num_probes` range tests, or 0 if the budget does not pay for any. It is
    `wanted`, or fewer to stay within USUAL_PROBE_FRACTION of the epochs; up to MAX_PROBE_FRACTION is used to reach at
    least MIN_PROBE_STEPS steps and MIN_PROBE_SAMPLES samples."""
    if limits.epochs is None:
        return wanted
    allowed = (
        probe_allowance(limits, first_rung_epochs=first_rung_epochs, fraction=fraction)
        for fraction in (MAX_PROBE_FRACTION, USUAL_PROBE_FRACTION)
    )
    most, usual = (
        math.floor((epochs - spent_epochs) / max(1, num_probes) * num_train_samples / batch_size) for epochs in allowed
    )
    enough = max(MIN_PROBE_STEPS, math.ceil(MIN_PROBE_SAMPLES / batch_size))
    return min(wanted, max(usual, min(most, enough))) if most >= min(wanted, MIN_PROBE_STEPS) else 0


def steps_in_epochs(*, num_steps: int, batch_size: int, num_train_samples: int) -> float:
    """Return the cost of `num_steps` training steps in epochs, by the number of samples they see."""
    return num_steps * batch_size / num_train_samples


def _reserve(scheduler: Scheduler, limits: BudgetLimits, pace: float | None) -> float:
    """The number of remaining epochs below which no new trial starts if a paused one can be promoted."""
    if len(scheduler.rungs) == 1:
        return 0.0
    return min(scheduler.costs[scheduler.top], _whole_epochs(limits, pace) / 3)


def _whole_epochs(limits: BudgetLimits, pace: float | None) -> float:
    """The whole budget in epochs, time converted at the mean pace."""
    whole = math.inf if limits.epochs is None else limits.epochs
    return min(whole, _epochs_in_time(limits, Usage(), pace))


def _epochs_in_time(limits: BudgetLimits, usage: Usage, pace: float | None) -> float:
    """Epochs that one slot can train in the remaining time; infinity if that is not limited or the pace is unknown."""
    if limits.time_seconds is None or pace is None:
        return math.inf
    return (limits.time_seconds - usage.seconds) / max(pace, 1e-9)
