"""From a profile of the memory to what is expected of a device: the largest batch, what it takes, what fills it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from probe.batch.profile import FixedCosts, Profile, Replay, Untraceable
from probe.batch.records import Forecast, PredictedPeak, Prediction
from probe.units import format_share

CARDS_BYTES = tuple(size * 2**30 for size in (8, 12, 16, 24, 40, 48, 80, 141))
"""Memory of common cards."""
USABLE_SHARE = 0.97
"""Of a card's nominal size. CUDA reports 7.79 GiB of an RTX 3070's 8, 11.8 of an RTX 3060's 12, 23.7 of an RTX 3090's 24, 79.2
of an A100's 80; where error correction takes a part of the memory, as on a T4 or an L40S, it is 92 %."""
MAX_BATCH_SIZE = 2**30


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


def forecast(
    found: Profile | Untraceable,
    cards_bytes: Iterable[int] = CARDS_BYTES,
    *,
    usable_share: float = 1.0,
    bound: int | None = None,
    costs: FixedCosts | None = None,
) -> tuple[Forecast, tuple[Prediction, ...]]:
    """For each card the largest power of two that fits without emptying the allocator's cache, and what it takes.

    `usable_share` of a card's size is there to be used: below 1 where sizes are nominal. No batch is larger than `bound`,
    like the number of training samples. `costs` replaces what is assumed of
    the context and the libraries' workspaces. No predictions where nothing was traced.
    """
    if isinstance(found, Untraceable):
        return Forecast(traced_as=None, failure=found.reason), ()
    if found.target == "simulated":
        costs = FixedCosts.none()
    cards = tuple(cards_bytes)
    replays = _Replays(found)
    predictions = tuple(
        _prediction(
            found,
            card,
            usable_bytes=int(usable_share * card),
            most=MAX_BATCH_SIZE if bound is None else min(bound, MAX_BATCH_SIZE),
            costs=costs or FixedCosts.assumed(card),
            replays=replays,
        )
        for card in cards
    )
    nominal = f"of a card's nominal size {format_share(usable_share, decimals=0)} are taken as usable; with ECC it may be less"
    return Forecast(
        traced_as=found.traced_as,
        unseen=(*found.unseen, nominal) if usable_share < 1 else found.unseen,
        curve=_curve(found, cards, predictions, costs, replays),
        seconds=found.seconds,
    ), predictions


def _prediction(
    profile: Profile, card_bytes: int, *, usable_bytes: int, most: int, costs: FixedCosts, replays: _Replays
) -> Prediction:
    resident_bytes = profile.resident_bytes(card_bytes)
    fixed_bytes = costs.context_bytes + profile.workspace_bytes(costs) + resident_bytes
    largest: int | None = None
    size = 1
    while size <= most and profile.live_peak_bytes(size) + fixed_bytes <= usable_bytes:
        if replays.at(size, resident_bytes, costs).peak_bytes <= usable_bytes:
            largest = size
        size *= 2
    replay = replays.at(largest or 1, resident_bytes, costs)
    return Prediction(
        memory_bytes=card_bytes,
        largest_fit=largest,
        peak_bytes=replay.peak_bytes,
        allocated_bytes=replay.peak_allocated_bytes,
        parts=profile.memory_parts(largest or 1, replay, costs=costs, resident_bytes=resident_bytes),
    )


def _curve(
    profile: Profile,
    cards: tuple[int, ...],
    predictions: tuple[Prediction, ...],
    costs: FixedCosts | None,
    replays: _Replays,
) -> tuple[PredictedPeak, ...]:
    """Up to one size beyond what fits on the largest card, as on the smallest one."""
    if not cards:
        return ()
    largest = max(prediction.largest_fit or 1 for prediction in predictions)
    smallest_card = min(cards)
    shared = costs or FixedCosts.assumed(smallest_card)
    points = []
    for exponent in range((2 * largest).bit_length()):
        replay = replays.at(1 << exponent, profile.resident_bytes(smallest_card), shared)
        points.append(
            PredictedPeak(
                batch_size=1 << exponent,
                allocated_bytes=replay.peak_allocated_bytes,
                peak_bytes=replay.peak_bytes,
            )
        )
    return tuple(points)
