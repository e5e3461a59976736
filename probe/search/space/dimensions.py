"""From a recipe's [space] and the probes' answers to a Space. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from probe.recipe.schema import Recipe
from probe.recipe.space import Choices, Constant, ProbedBatch, ProbedLr, Range
from probe.search.records.search import Dimension, ParamValue
from probe.search.space.space import (
    Space,
    axis_of,
    is_active,
    position_of,
    positions_of,
    random_suggest,
    round_significant,
    value_at,
)
from probe.seeds import derive_seed

USUAL_SMALL_BATCH = 32
USUAL_LARGEST_BATCH = 256
LEAST_BATCH = 8
USUAL_LRS = {"sgd": 0.1, "nesterov": 0.03}
"""Where no range test could say: a rule of thumb for each optimizer."""
USUAL_LR = 1e-3
"""Of Adam and its kin."""
USUAL_VALUES: Mapping[str, float] = {
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "dropout": 0.1,
    "batch_size": 32,
    "label_smoothing": 0.1,
    "max_grad_norm": 1.0,
    "focal_gamma": 2.0,
    "augmentation_strength": 1.0,
}
USUAL_DECOUPLED_WEIGHT_DECAY = 0.01
"""What papers and PyTorch's examples begin with: momentum and weight decay of He et al. 2016
(https://arxiv.org/abs/1512.03385), dropout and label smoothing of Vaswani et al. 2017
(https://arxiv.org/abs/1706.03762), batches of Masters & Luschi 2018, the focal loss of Lin et al. 2017
(https://arxiv.org/abs/1708.02002), decoupled weight decay as torch.optim.AdamW has it."""


def build_space(
    recipe: Recipe,
    *,
    largest_batch: int | None = None,
    lr_ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Space:
    """The space to search. `largest_batch`: what the batch probe found. `lr_ranges`: optimizer, or "", -> (low, high).

    A probed dimension whose answer is None is left out: that is the space in which the probes themselves are made.
    """
    dimensions: list[Dimension] = []
    for name, entry in recipe.searched.items():
        if isinstance(entry, ProbedBatch):
            if largest_batch is not None:
                dimensions.append(batch_dimension(name, min(largest_batch, entry.max or largest_batch)))
        elif isinstance(entry, ProbedLr):
            if lr_ranges is not None:
                dimensions.append(replace(lr_dimension(name, lr_ranges), steps=entry.steps))
        elif isinstance(entry, Choices):
            dimensions.append(Dimension(name=name, kind="choices", choices=entry.choices, when=entry.when))
        elif isinstance(entry, Range):
            dimensions.append(
                Dimension(
                    name=name,
                    kind=entry.kind,
                    low=float(entry.low),
                    high=float(entry.high),
                    log=entry.log,
                    when=entry.when,
                    steps=entry.steps,
                    step=None if entry.step is None else float(entry.step),
                )
            )
    return Space(dimensions=_optimizer_before_lr(dimensions), constants=recipe.constants)


def expected_space(recipe: Recipe) -> Space:
    """The space as far as it is known before its probes are made: with what usually comes out of them."""
    batch, lr = recipe.space.get("batch_size"), recipe.space.get("lr")
    ceiling = ranges = None
    if isinstance(batch, ProbedBatch):
        ceiling = min(batch.max or USUAL_LARGEST_BATCH, recipe.batch.max or USUAL_LARGEST_BATCH)
    if isinstance(lr, ProbedLr):
        keys = optimizers_of(recipe, None) if lr.per == "optimizer" else ()
        ranges = {key: lr_range(lr, usual_lr(key), lowest=0.0, highest=math.inf) for key in keys or ("",)}
    return build_space(recipe, largest_batch=ceiling, lr_ranges=ranges)


def batch_dimension(name: str, ceiling: int) -> Dimension:
    """Powers of two up to `ceiling`: three octaves of them, more where that is what it takes to reach down to 32.

    Small batches cost time and large ones generalization and steps: the usual optimum lies near 32 (Masters & Luschi
    2018, https://arxiv.org/abs/1804.07612), so a large memory must not take it out of the space. Below 8, batch
    normalization and the cost of a step stand against it.
    """
    high = 2 ** math.floor(math.log2(ceiling))
    low = min(high, max(LEAST_BATCH, min(USUAL_SMALL_BATCH, high // 8)))
    return Dimension(name=name, kind="pow2", low=float(low), high=float(high))


def lr_dimension(name: str, ranges: Mapping[str, tuple[float, float]]) -> Dimension:
    """A learning rate, on a log scale; with several ranges each optimizer has its own."""
    lows, highs = zip(*ranges.values(), strict=True)
    per = dict(ranges) if len(ranges) > 1 else None
    return Dimension(name=name, kind="float", low=min(lows), high=max(highs), log=True, per=per)


def lr_range(entry: ProbedLr, suggested: float, *, lowest: float, highest: float) -> tuple[float, float]:
    """`below` decades under the suggestion to `above` decades over it, inside the tested range."""
    low = max(lowest, suggested * 10**-entry.below)
    high = min(highest, suggested * 10**entry.above)
    return round_significant(low), round_significant(high)


def usual_lr(optimizer: str) -> float:
    return USUAL_LRS.get(optimizer, USUAL_LR)


def optimizers_of(recipe: Recipe, default: str | None) -> tuple[str, ...]:
    """The optimizers that the search may use, by name; `default` is the task's own, None where it is a callable."""
    entry = recipe.space.get("optimizer")
    if isinstance(entry, Choices):
        return tuple(str(choice) for choice in entry.choices)
    if isinstance(entry, Constant):
        return (str(entry.value),)
    return () if default is None else (default,)


def central_params(space: Space, **fixed: ParamValue) -> dict[str, ParamValue]:
    """A configuration in the middle of every range (on its own scale), with the first of all choices: the one for which
    the learning rate is probed. `fixed` values go before."""
    return _corner(space, 0.5, fixed)


def usual_starts(space: Space, probed: Sequence[str]) -> tuple[dict[str, ParamValue], ...]:
    """The best guess before any trial: usual values where they lie inside their ranges, the middle elsewhere.

    `probed`: optimizers whose learning rate was probed ("": whatever the space has), with a start for each: its
    learning rate in the middle of the probed range, and the batch size with which it was probed.
    """
    starts = []
    for optimizer in probed or ("",):
        params: dict[str, ParamValue] = {**space.constants, **({"optimizer": optimizer} if optimizer else {})}
        for dimension in sorted(space.dimensions, key=lambda dimension: dimension.name == "lr"):  # after the momentum
            if is_active(dimension, params) and dimension.name not in params:
                usual = None if probed and dimension.name in ("lr", "batch_size") else _usual_value(dimension, params)
                params[dimension.name] = usual if usual is not None else _value_between(dimension, 0.5, params)
        starts.append({name: value for name, value in params.items() if name not in space.constants})
    return tuple(starts)


def _usual_value(dimension: Dimension, params: Mapping[str, ParamValue]) -> ParamValue | None:
    """None where there is none inside the range. `params`: those before it."""
    usual = USUAL_VALUES.get(dimension.name)
    optimizer = params.get("optimizer")
    if dimension.name == "lr" and isinstance(optimizer, str):
        usual = usual_lr(optimizer)
        if optimizer == "sgd":  # where each gradient counts 1 / (1 - momentum) times in the end
            usual *= 1 - float(params.get("momentum", 0.0))
    if dimension.name == "weight_decay" and optimizer == "adamw":
        usual = USUAL_DECOUPLED_WEIGHT_DECAY
    if usual is None or dimension.kind == "choices" or dimension.low is None or dimension.high is None:
        return None
    if not dimension.low <= usual <= dimension.high:
        return None
    return value_at(dimension, position_of(dimension, usual, params), params)


def params_near(
    space: Space, share: float, *, seed: int, num_drawn: int, **fixed: ParamValue
) -> tuple[dict[str, ParamValue], ...]:
    """The configuration at that share of every range, then `num_drawn` random ones, the nearest to it first: for where
    the task's code refuses some of them (`probe.Infeasible`). `fixed` values go before."""
    drawn = [_drawn(space, derive_seed(seed, number, "near"), fixed) for number in range(num_drawn)]
    return (_corner(space, share, fixed), *sorted(drawn, key=lambda params: _distance(space, params, share)))


def _drawn(space: Space, seed: int, fixed: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    suggest = random_suggest(seed)
    params: dict[str, ParamValue] = {**space.constants, **fixed}
    for dimension in space.dimensions:
        if dimension.name not in fixed and is_active(dimension, params):
            params[dimension.name] = value_at(dimension, suggest(axis_of(dimension)), params)
    return params


def _distance(space: Space, params: Mapping[str, ParamValue], share: float) -> float:
    """How far from `share` of every range the configuration lies, in shares of the ranges. Choices count as 1 apart
    from the first one."""
    positions = positions_of(space, params)
    total = 0.0
    for dimension in space.dimensions:
        axis = axis_of(dimension)
        position = positions.get(axis.name)
        if axis.kind == "choices":
            total += position is not None and position != axis.choices[0]
        elif position is not None and axis.high > axis.low:
            low, high, at = (math.log(end) if axis.log else end for end in (axis.low, axis.high, float(position)))
            total += abs((at - low) / (high - low) - share)
    return total


def _corner(space: Space, share: float, fixed: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    params: dict[str, ParamValue] = {**space.constants, **fixed}
    for dimension in space.dimensions:
        if dimension.name not in fixed and is_active(dimension, params):
            params[dimension.name] = _value_between(dimension, share, params)
    return params


def _value_between(dimension: Dimension, share: float, params: Mapping[str, ParamValue]) -> ParamValue:
    """`params`: those before it, which its range may depend on."""
    if dimension.kind == "choices":
        return dimension.choices[0]
    low, high = dimension.low or 0.0, dimension.high or 0.0
    if dimension.per is not None:
        low, high = dimension.per[str(params["optimizer"])]
        return round_significant(low * (high / low) ** share)
    if dimension.step is not None:
        return value_at(dimension, math.floor(share * axis_of(dimension).high), {})
    if dimension.kind == "pow2":
        return value_at(dimension, math.floor(math.log2(low) + share * (math.log2(high) - math.log2(low))), {})
    if dimension.log:
        return value_at(dimension, low * (high / low) ** share, {})
    return value_at(dimension, low + share * (high - low), {})


def _optimizer_before_lr(dimensions: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """The recipe's order, but a range that depends on the optimizer comes after it."""
    waiting: list[Dimension] = []
    ordered: list[Dimension] = []
    has_optimizer = False
    for dimension in dimensions:
        if dimension.per is not None and not has_optimizer:
            waiting.append(dimension)
            continue
        ordered.append(dimension)
        if dimension.name == "optimizer":
            has_optimizer = True
            ordered += waiting
    return tuple(ordered)
