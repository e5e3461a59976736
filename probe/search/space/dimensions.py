"""Makes the Space of a recipe, from its section [space] and the results of the probes. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from probe.recipe.schema import Recipe
from probe.recipe.space import Choices, Constant, ProbedBatch, ProbedLr, Range
from probe.search.records.search import Dimension, ParamValue
from probe.search.space.space import (
    Params,
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
"""Default learning rate of each optimizer, if no range test was possible."""
USUAL_LR = 1e-3
"""The same for Adam and similar optimizers."""
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
"""Common values in papers and PyTorch's examples: momentum and weight decay of He et al. 2016
(https://arxiv.org/abs/1512.03385), dropout and label smoothing of Vaswani et al. 2017
(https://arxiv.org/abs/1706.03762), batches of Masters & Luschi 2018, the focal loss of Lin et al. 2017
(https://arxiv.org/abs/1708.02002), decoupled weight decay of torch.optim.AdamW."""


def build_space(
    recipe: Recipe, *, largest_batch: int | None = None, lr_ranges: Mapping[str, tuple[float, float]] | None = None
) -> Space:
    """The space to search, with the results of the probes: the largest batch, and the range (low, high) of the learning
    rate for each optimizer, or for "". With None, that dimension is left out if the recipe has it probed, as in the
    space of the probes."""
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
    """The space to expect before the probes, with typical results of them."""
    batch, lr = recipe.space.get("batch_size"), recipe.space.get("lr")
    ceiling = ranges = None
    if isinstance(batch, ProbedBatch):
        ceiling = min(batch.max or USUAL_LARGEST_BATCH, recipe.batch.max or USUAL_LARGEST_BATCH)
    if isinstance(lr, ProbedLr):
        keys = optimizers_of(recipe, None) if lr.per == "optimizer" else ()
        ranges = {key: lr_range(lr, usual_lr(key), lowest=0.0, highest=math.inf) for key in keys or ("",)}
    return build_space(recipe, largest_batch=ceiling, lr_ranges=ranges)


def batch_dimension(name: str, ceiling: int) -> Dimension:
    """Powers of two up to `ceiling`, from an eighth of it but at most 32 and at least 8. The best batch size is usually
    near 32 (Masters & Luschi 2018, https://arxiv.org/abs/1804.07612). Below 8, batch normalization suffers and steps
    become expensive."""
    high = 2 ** math.floor(math.log2(ceiling))
    low = min(high, max(LEAST_BATCH, min(USUAL_SMALL_BATCH, high // 8)))
    return Dimension(name=name, kind="pow2", low=float(low), high=float(high))


def lr_dimension(name: str, ranges: Mapping[str, tuple[float, float]]) -> Dimension:
    """The dimension of the learning rate, on a log scale. With several ranges, each optimizer has its own."""
    lows, highs = zip(*ranges.values(), strict=True)
    per = dict(ranges) if len(ranges) > 1 else None
    return Dimension(name=name, kind="float", low=min(lows), high=max(highs), log=True, per=per)


def lr_range(entry: ProbedLr, suggested: float, *, lowest: float, highest: float) -> tuple[float, float]:
    """The range from `entry.below` decades below the suggestion to `entry.above` decades above it, within the tested range."""
    low = max(lowest, suggested * 10**-entry.below)
    high = min(highest, suggested * 10**entry.above)
    return round_significant(low), round_significant(high)


def usual_lr(optimizer: str) -> float:
    """Default learning rate of an optimizer, without a range test."""
    return USUAL_LRS.get(optimizer, USUAL_LR)


def optimizers_of(recipe: Recipe, default: str | None) -> tuple[str, ...]:
    """Names of the optimizers that the search may use. `default` is that of the task, or None if it is a callable."""
    return names_in(recipe, "optimizer") or (() if default is None else (default,))


def names_in(recipe: Recipe, hyperparameter: str) -> tuple[str, ...]:
    """Values of a hyperparameter that takes names; empty if it is not part of the space."""
    entry = recipe.space.get(hyperparameter)
    if isinstance(entry, Choices):
        return tuple(str(choice) for choice in entry.choices)
    return (str(entry.value),) if isinstance(entry, Constant) else ()


def central_params(space: Space, **fixed: ParamValue) -> dict[str, ParamValue]:
    """The configuration for which the learning rate is probed: the middle of every range, on its own scale, and the first
    choices. `fixed` values replace these."""
    return _filled(space, fixed, partial(_value_between, fraction=0.5))


def usual_starts(space: Space, probed: Sequence[str]) -> tuple[dict[str, ParamValue], ...]:
    """Start points without any trial: common values if they are inside their ranges, otherwise the middle of the range.
    Each of the optimizers whose learning rate was `probed` ("" for any) has one, with the middle of its probed range,
    and the batch size that it was probed with."""
    starts = []
    for optimizer in probed or ("",):
        params: dict[str, ParamValue] = {**space.constants, **({"optimizer": optimizer} if optimizer else {})}
        # The learning rate comes last, since it depends on the momentum.
        for dimension in sorted(space.dimensions, key=lambda dimension: dimension.name == "lr"):
            if is_active(dimension, params) and dimension.name not in params:
                usual = None if probed and dimension.name in ("lr", "batch_size") else _usual_value(dimension, params)
                params[dimension.name] = usual if usual is not None else _value_between(dimension, params, 0.5)
        starts.append({name: value for name, value in params.items() if name not in space.constants})
    return tuple(starts)


def _usual_value(dimension: Dimension, params: Params) -> ParamValue | None:
    """The common value of a dimension, given the values before it; None if there is none inside the range."""
    usual = USUAL_VALUES.get(dimension.name)
    optimizer = params.get("optimizer")
    if dimension.name == "lr" and isinstance(optimizer, str):
        usual = usual_lr(optimizer)
        if optimizer == "sgd":  # with momentum, a gradient counts 1 / (1 - momentum) times
            usual *= 1 - float(params.get("momentum", 0.0))
    if dimension.name == "weight_decay" and optimizer == "adamw":
        usual = USUAL_DECOUPLED_WEIGHT_DECAY
    if usual is None or dimension.kind == "choices" or dimension.low is None or dimension.high is None:
        return None
    if not dimension.low <= usual <= dimension.high:
        return None
    return value_at(dimension, position_of(dimension, usual, params), params)


def params_near(
    space: Space, fraction: float, *, seed: int, num_drawn: int, **fixed: ParamValue
) -> tuple[dict[str, ParamValue], ...]:
    """The configuration at a fraction of every range, then `num_drawn` random ones, the closest to it first:
    alternatives if the task rejects a configuration (`probe.Infeasible`). `fixed` values replace those of the space."""

    def drawn(number: int) -> dict[str, ParamValue]:
        suggest = random_suggest(derive_seed(seed, number, "near"))
        return _filled(space, fixed, lambda one, params: value_at(one, suggest(axis_of(one)), params))

    others = sorted(map(drawn, range(num_drawn)), key=lambda params: _distance(space, params, fraction))
    return (_filled(space, fixed, partial(_value_between, fraction=fraction)), *others)


def _distance(space: Space, params: Params, fraction: float) -> float:
    """Sum of the distances from `fraction` of every range. The first choice has distance 0, others 1."""
    positions = positions_of(space, params)
    total = 0.0
    for dimension in space.dimensions:
        axis = axis_of(dimension)
        position = positions.get(axis.name)
        if axis.kind == "choices":
            total += position is not None and position != axis.choices[0]
        elif position is not None and axis.high > axis.low:
            low, high, at = (math.log(end) if axis.log else end for end in (axis.low, axis.high, float(position)))
            total += abs((at - low) / (high - low) - fraction)
    return total


def _filled(space: Space, fixed: Params, value_of: Callable[[Dimension, Params], ParamValue]) -> dict[str, ParamValue]:
    """A configuration with the `fixed` values, and those of `value_of` for all other dimensions."""
    params: dict[str, ParamValue] = {**space.constants, **fixed}
    for dimension in space.dimensions:
        if dimension.name not in fixed and is_active(dimension, params):
            params[dimension.name] = value_of(dimension, params)
    return params


def _value_between(dimension: Dimension, params: Params, fraction: float) -> ParamValue:
    """The value at a fraction of a dimension's range, which may depend on the values before it."""
    if dimension.kind == "choices":
        return dimension.choices[0]
    low, high = dimension.low or 0.0, dimension.high or 0.0
    if dimension.per is not None:
        low, high = dimension.per[str(params["optimizer"])]
        return round_significant(low * (high / low) ** fraction)
    if dimension.step is not None:
        return value_at(dimension, math.floor(fraction * axis_of(dimension).high), {})
    if dimension.kind == "pow2":
        return value_at(dimension, math.floor(math.log2(low) + fraction * (math.log2(high) - math.log2(low))), {})
    if dimension.log:
        return value_at(dimension, low * (high / low) ** fraction, {})
    return value_at(dimension, low + fraction * (high - low), {})


def _optimizer_before_lr(dimensions: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """The dimensions in the recipe's order, except that a range that depends on the optimizer comes after it."""
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
