"""From a profile of the memory to what is expected of a device: the largest batch, what it takes, what fills it. Pure."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from probe.batch.prediction.memory_model import FixedCosts, Profile, Replay, Target, Untraceable
from probe.batch.records import Forecast, PredictedPeak, Prediction
from probe.units import format_percent

CARDS_BYTES = tuple(size * 2**30 for size in (8, 12, 16, 24, 40, 48, 80, 141))
"""Memory of common cards."""
USABLE_SHARE = 0.97
"""Of a card's nominal size. CUDA reports 7.79 GiB of an RTX 3070's 8, 11.8 of an RTX 3060's 12, 23.7 of an RTX 3090's 24, 79.2
of an A100's 80; where error correction takes a part of the memory, as on a T4 or an L40S, it is 92 %."""
MAX_BATCH_SIZE = 2**30
CHECKED_MICRO_BATCH = 16
"""Traced where no card's largest batch can be: no card is known, or the data set is too small."""
MAX_STEP = 1024
"""How many times as large as any traced batch the next one may be: what is expected further away is a guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cards:
    """Devices to predict for."""

    memory_bytes: tuple[int, ...] = CARDS_BYTES
    usable_share: float = 1.0
    """Of each one's size: below 1 where sizes are nominal."""
    bound: int | None = None
    """No batch is larger, like the number of training samples."""
    costs: FixedCosts | None = None
    """In place of what is assumed of the context and the libraries' workspaces."""

    @property
    def max_batch_size(self) -> int:
        return MAX_BATCH_SIZE if self.bound is None else min(self.bound, MAX_BATCH_SIZE)

    def costs_of(self, card_bytes: int, target: Target) -> FixedCosts:
        return FixedCosts.none() if target == "simulated" else self.costs or FixedCosts.assumed(card_bytes)


@dataclass(frozen=True, slots=True)
class _Replays:
    """Each batch size is replayed once for all cards that differ in nothing but their size."""

    profile: Profile
    known: dict[tuple[int, int, FixedCosts], Replay] = field(default_factory=dict)

    def at(self, batch_size: int, resident_bytes: int, costs: FixedCosts) -> Replay:
        key = (batch_size, resident_bytes, costs)
        if key not in self.known:
            self.known[key] = self.profile.replay(batch_size, costs=costs, resident_bytes=resident_bytes)
        return self.known[key]


def forecast(found: Profile | Untraceable, cards: Cards | None = None) -> tuple[Forecast, tuple[Prediction, ...]]:
    """For each card the largest power of two that fits without emptying the allocator's cache, and what it takes.

    Without `cards`, for common ones. No predictions where nothing was traced.
    """
    if isinstance(found, Untraceable):
        return Forecast(traced_as=None, failure=found.reason), ()
    cards = cards or Cards()
    replays = _Replays(found)
    predictions = tuple(_prediction(card, cards, replays) for card in cards.memory_bytes)
    share = format_percent(cards.usable_share, decimals=0)
    nominal = f"of a card's nominal size {share} are taken as usable; with ECC it may be less"
    return Forecast(
        traced_as=found.traced_as,
        unseen=(*found.unseen, nominal) if cards.usable_share < 1 else found.unseen,
        checks=found.checks,
        curve=_curve(cards, predictions, replays),
        seconds=found.seconds,
    ), predictions


def next_size_to_trace(
    profile: Profile, cards: Cards, *, excluded: Container[int] = (), only_largest: bool = False
) -> int | None:
    """The batch size whose trace would say most: what is expected to fit on the largest card, then on the others, then the
    next power of two above each of these. None where all of them were traced.

    `excluded`: sizes that cannot be traced. `only_largest`: nothing but what is expected to fit on the largest card.
    """
    replays = _Replays(profile)
    furthest = MAX_STEP * max(trace.micro_batch for trace in profile.fit.traces) * profile.gradient_accumulation
    fitting = []
    for card in sorted(cards.memory_bytes, reverse=True)[: 1 if only_largest else None]:
        size = min(_largest_fit(card, cards, replays) or 1, furthest)
        if size not in excluded and not profile.is_traced(size):
            return size
        fitting.append(size)
    if only_largest:
        return None
    too_large = [2 * size for size in fitting if 2 * size <= cards.max_batch_size] or [
        CHECKED_MICRO_BATCH * profile.gradient_accumulation
    ]
    return next((size for size in too_large if size not in excluded and not profile.is_traced(size)), None)


def _largest_fit(card_bytes: int, cards: Cards, replays: _Replays) -> int | None:
    profile, costs = replays.profile, cards.costs_of(card_bytes, replays.profile.target)
    usable_bytes = int(cards.usable_share * card_bytes)
    resident_bytes = profile.resident_bytes(card_bytes)
    fixed_bytes = costs.context_bytes + profile.workspace_bytes(costs) + resident_bytes
    largest: int | None = None
    size = 1
    while size <= cards.max_batch_size and profile.live_peak_bytes(size) + fixed_bytes <= usable_bytes:
        if replays.at(size, resident_bytes, costs).peak_bytes <= usable_bytes:
            largest = size
        size *= 2
    return largest


def _prediction(card_bytes: int, cards: Cards, replays: _Replays) -> Prediction:
    profile, costs = replays.profile, cards.costs_of(card_bytes, replays.profile.target)
    resident_bytes = profile.resident_bytes(card_bytes)
    largest = _largest_fit(card_bytes, cards, replays)
    replay = replays.at(largest or 1, resident_bytes, costs)
    return Prediction(
        memory_bytes=card_bytes,
        largest_fit=largest,
        peak_bytes=replay.peak_bytes,
        allocated_bytes=replay.peak_allocated_bytes,
        is_traced=profile.is_traced(largest or 1),
        parts=profile.memory_parts(largest or 1, replay, costs=costs, resident_bytes=resident_bytes),
    )


def _curve(cards: Cards, predictions: tuple[Prediction, ...], replays: _Replays) -> tuple[PredictedPeak, ...]:
    """Up to one size beyond what fits on the largest card, as on the smallest one."""
    if not predictions:
        return ()
    largest = max(prediction.largest_fit or 1 for prediction in predictions)
    smallest_card = min(cards.memory_bytes)
    shared = cards.costs_of(smallest_card, replays.profile.target)
    resident_bytes = replays.profile.resident_bytes(smallest_card)
    points = []
    for exponent in range((2 * largest).bit_length()):
        replay = replays.at(1 << exponent, resident_bytes, shared)
        points.append(
            PredictedPeak(
                batch_size=1 << exponent,
                allocated_bytes=replay.peak_allocated_bytes,
                peak_bytes=replay.peak_bytes,
            )
        )
    return tuple(points)
