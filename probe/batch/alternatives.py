"""Where not even one sample fits: which changes would make room, as far as they can be predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from probe.batch.prediction.forecast import Cards, forecast
from probe.batch.prediction.memory_model import Profile, Target, Untraceable
from probe.batch.prediction.predict import trace_profile
from probe.batch.records import Alternative, BatchResult, MemoryParts
from probe.batch.session import Request
from probe.errors import ProbeError
from probe.tasks.source import NamedSource, TaskSource
from probe.workers.worker import Worker, WorkerDied

SYNTHETIC_IMAGE_SIZE = 224
"""Of made-up images whose size is not named."""
MIN_IMAGE_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A way to train the same model with less memory."""

    title: str
    params: dict[str, Any]
    """Hyperparameters of the trainer in place of those that were asked for."""
    image_size: int | None = None


def possible_changes(
    *, precision: str, optimizer: str, activation_checkpointing: bool, image_size: int | None
) -> tuple[Change, ...]:
    """What might help, the gentlest first: each by itself, then all of them together. Pure.

    `image_size`: height and width of images that can be resized; None for other data.
    """
    single = []
    if precision in ("fp32", "tf32"):
        single.append(Change(title="bf16", params={"precision": "bf16"}))
    if not activation_checkpointing:
        single.append(Change(title="activation checkpointing", params={"activation_checkpointing": True}))
    if optimizer != "sgd":
        single.append(Change(title="optimizer sgd, which keeps no state", params={"optimizer": "sgd"}))
    smaller: list[Change] = []
    while image_size is not None and image_size // 2 >= MIN_IMAGE_SIZE and len(smaller) < 2:
        image_size //= 2
        smaller.append(Change(title=f"images of {image_size} x {image_size}", params={}, image_size=image_size))
    together = Change(
        title=", ".join(change.title.partition(",")[0] for change in single),
        params={name: value for change in single for name, value in change.params.items()},
    )
    joint = [together] if len(single) > 1 else []
    if single and smaller:
        joint.append(
            replace(together, title=f"{together.title}, {smaller[-1].title}", image_size=smaller[-1].image_size)
        )
    return (*single, *smaller, *joint)


def find_alternatives(request: Request, result: BatchResult, *, in_process: bool) -> tuple[Alternative, ...]:
    """Of the possible changes, those after which a batch is predicted to fit into what the device offers, or the largest
    of the cards that were asked about.

    None where something fits as it is, where nothing was predicted to begin with, or where the weights with their gradients
    take more than there is, which no change of this kind makes smaller.
    """
    if result.stopped_by not in ("nothing_fits", "predicted") or not result.predictions:
        return ()
    largest = max(result.predictions, key=lambda prediction: prediction.memory_bytes)
    limit_bytes = largest.memory_bytes
    something_fits = result.stopped_by == "predicted" and largest.largest_fit is not None
    if something_fits or _unavoidable_bytes(largest.parts) > limit_bytes:
        return ()
    changes = possible_changes(
        precision=result.precision,
        optimizer=result.optimizer.partition(" ")[0],
        activation_checkpointing=bool(request.params.get("activation_checkpointing")),
        image_size=_image_size(request.source),
    )
    is_simulated = result.stopped_by != "predicted" and result.device_memory is None
    target: Target = "simulated" if is_simulated else "cuda"
    cards = Cards(memory_bytes=(limit_bytes,))
    found = []
    for change, profile in _profiles(request, changes, target, cards, in_process=in_process):
        best = next(iter(forecast(profile, cards)[1]), None)
        if best is not None and best.largest_fit is not None:
            found.append(Alternative(change=change.title, largest_fit=best.largest_fit, peak_bytes=best.peak_bytes))
    return tuple(found)


def _unavoidable_bytes(parts: MemoryParts) -> int:
    return 2 * parts.weights_bytes + parts.context_bytes


def _image_size(source: TaskSource) -> int | None:
    if not isinstance(source, NamedSource):
        return None
    return source.image_size or (SYNTHETIC_IMAGE_SIZE if source.data == "synthetic" else None)


def _profiles(
    request: Request, changes: tuple[Change, ...], target: Target, cards: Cards, *, in_process: bool
) -> Iterator[tuple[Change, Profile | Untraceable]]:
    """One child traces all of them; a change that the task refuses is no alternative."""
    if in_process:
        yield from ((change, _traced(trace_profile, request, change, target, cards)) for change in changes)
        return
    with Worker(num_threads=1) as worker:
        for change in changes:
            try:
                yield change, _traced(_call_in(worker), request, change, target, cards)
            except WorkerDied as death:
                yield change, Untraceable(reason=death.message)
                return


def _call_in(worker: Worker) -> Callable[..., Any]:
    return lambda *arguments: worker.call(trace_profile, *arguments)


def _traced(
    call: Callable[..., Any], request: Request, change: Change, target: Target, cards: Cards
) -> Profile | Untraceable:
    source = request.source
    if change.image_size is not None and isinstance(source, NamedSource):
        source = replace(source, image_size=change.image_size)
    params = {**request.params, **change.params}
    if "optimizer" in change.params:
        params = {name: value for name, value in params.items() if name not in ("momentum", "weight_decay")}
    try:
        profile: Profile | Untraceable = call(source, params, target, cards, request.seed)
    except ProbeError as error:
        return Untraceable(reason=error.message)
    return profile
