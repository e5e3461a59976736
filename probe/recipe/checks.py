"""Checks that concern several keys of a recipe (names, conditions, scheduler, sampler, start), and keys of old versions. Pure.

Each check raises ValueError. The message starts with the key, relative to the table that is checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from probe.errors import did_you_mean
from probe.limits import MAX_NAME
from probe.recipe.space import Choices, Constant, ProbedBatch, ProbedLr, Range
from probe.recipe.values import ParamValue, broken_rule, same_value, show
from probe.recipe.when import (
    Bounds,
    Condition,
    all_hold,
    condition_words,
    holds,
    holds_in_range,
    listed_values,
    plain_condition,
)

if TYPE_CHECKING:
    from probe.recipe.space import SpaceEntry

RENAMED_KEYS = {
    "search.ladder": "search.scheduler",
    "lr.horizon": "lr.training_steps",
    "task.validation.share": "task.validation.fraction",
    "task.data_options.objective": "task.data_options.task_type",
    "task.data_options.test_share": "task.data_options.test_fraction",
    "space.schedule": "space.lr_schedule",
    "space.accumulation": "space.gradient_accumulation",
    "space.clip_norm": "space.max_grad_norm",
    "space.checkpointing": "space.activation_checkpointing",
}


def check_entry_names(space: Mapping[str, SpaceEntry]) -> None:
    """Names must be identifiers; probes and values must suit the trainer's own hyperparameters."""
    for name, entry in space.items():
        if not name.isidentifier() or len(name) > MAX_NAME:
            shown = name if name.isprintable() and 0 < len(name) <= MAX_NAME and " " not in name else show(name)
            raise ValueError(
                f"{shown}: the name of a hyperparameter may contain letters, digits and underscores only, at most {MAX_NAME}"
            )
        if name == "epochs" and (not isinstance(entry, Choices) or entry.when):
            raise ValueError(
                "epochs: must be choices without a condition, like { choices = [5, 10, 20] }; to train all trials equally "
                'long, set search.fidelity.max, or search.fidelity.epochs with unit = "data"'
            )
        for kind, home in ((ProbedBatch, "batch_size"), (ProbedLr, "lr")):
            if isinstance(entry, kind) and name != home:
                raise ValueError(f'{name}: probe = "{entry.probe}" is allowed for {home} only')
        for value in values_of(entry):
            rule = broken_rule(name, value)
            if rule is not None:
                raise ValueError(f"{name}: must be {rule}, not {show(value)}")


def check_renamed_entries(space: Mapping[str, SpaceEntry]) -> None:
    """Entries of a named model must not have a name of an earlier version."""
    for name in space:
        new = RENAMED_KEYS.get(f"space.{name}")
        if new is not None:
            raise ValueError(f"space.{name}: was renamed; write {new}")


def values_of(entry: SpaceEntry | None) -> tuple[ParamValue, ...]:
    """All values that the entry lists, or both ends of its range; empty for an entry that a probe finds."""
    if isinstance(entry, Constant):
        return (entry.value,)
    if isinstance(entry, Choices):
        return entry.choices
    return entry.ends if isinstance(entry, Range) else ()


def resolve_conditions(space: Mapping[str, SpaceEntry]) -> dict[str, SpaceEntry]:
    """Resolve conditions on constants: a condition that holds is removed; an entry whose condition cannot hold is removed. So
    `--set space.optimizer=adam` fixes the optimizer and thereby removes the momentum of sgd."""
    resolved: dict[str, SpaceEntry] = {}
    for name, entry in space.items():
        given = conditions_of(entry)
        when = dict(given)
        exists = True
        for other, condition in given.items():
            _check_condition(space, name, other, condition)
            parent = resolved.get(other)
            if parent is None or (isinstance(parent, Constant) and not holds(condition, parent.value)):
                exists = False
            elif isinstance(parent, Constant):
                del when[other]
        if not exists:
            continue
        resolved[name] = entry if when == given else entry.model_copy(update={"when": when or None})
        _check_chain(resolved, name)
    return resolved


def conditions_of(entry: SpaceEntry | None) -> Mapping[str, Condition]:
    """The conditions with which the entry exists; empty if it always exists."""
    return getattr(entry, "when", None) or {}


def _check_condition(space: Mapping[str, SpaceEntry], name: str, other: str, condition: Condition) -> None:
    earlier = list(space)[: list(space).index(name)]
    if other not in earlier:
        if other == name or other not in space:
            raise ValueError(
                f"{name}.when: there is no hyperparameter {other} above {name}{did_you_mean(other, earlier)}"
            )
        raise ValueError(f"{name}.when: {other} must be above {name} in [space]")
    parent = space[other]
    if isinstance(parent, (ProbedBatch, ProbedLr)):
        raise ValueError(
            f"{name}.when: {other} must be a value, a range or choices to be part of a condition; the result of a probe is "
            "not known in advance"
        )
    where = f"{name}.when.{other}"
    if isinstance(condition, Bounds):
        texts = [value for value in values_of(parent) if isinstance(value, (bool, str))]
        if texts:
            raise ValueError(f"{where}: min and max apply to numbers, but {other} can be {show(texts[0])}")
    if isinstance(parent, Constant):
        return
    for value in listed_values(condition):
        if isinstance(parent, Range) and parent.kind == "float":
            raise ValueError(
                f"{where}: must be bounds, like {{ min = {show(value)} }}, because a range of numbers is unlikely to "
                f"contain exactly {show(value)}"
            )
        if not parent.contains(value):
            raise ValueError(f"{where}: must be {_allowed(parent)}, not {show(value)}")
    if not _can_hold(parent, [condition]):
        raise ValueError(
            f"{where}: {show(plain_condition(condition))} can never hold, because {other} is {_allowed(parent)}"
        )


def _check_chain(space: Mapping[str, SpaceEntry], name: str) -> None:
    """Raise ValueError unless the conditions of `name`, and of the entries they refer to, can hold at the same time."""
    needed: dict[str, list[Condition]] = {}
    waiting, seen = [name], {name}
    while waiting:
        for other, condition in conditions_of(space[waiting.pop()]).items():
            needed.setdefault(other, []).append(condition)
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    for other, conditions in needed.items():
        if not _can_hold(space[other], conditions):
            listed = " and ".join(dict.fromkeys(_stated(other, condition) for condition in conditions))
            raise ValueError(f"{name}.when: can never hold: it requires {listed} at the same time")


def _stated(other: str, condition: Condition) -> str:
    is_value = not isinstance(condition, (tuple, Bounds))
    return f"{other} = {show(condition)}" if is_value else f"{other} {condition_words(condition)}"


def _can_hold(parent: SpaceEntry, conditions: Sequence[Condition]) -> bool:
    if isinstance(parent, Range):
        whole, pow2 = parent.kind != "float", parent.pow2
        return holds_in_range(conditions, low=parent.low, high=parent.high, whole=whole, pow2=pow2)
    return any(all(holds(condition, value) for condition in conditions) for value in values_of(parent))


def check_scheduler(scheduler: str, space: Mapping[str, SpaceEntry]) -> None:
    """Epochs can be searched only if no scheduler decides them; `auto` means none then."""
    if "epochs" in space and scheduler not in ("auto", "none"):
        raise ValueError(
            f'search.scheduler: must be "none" or "auto" with space.epochs, not "{scheduler}", which decides the '
            "epochs of each trial; or remove space.epochs and set search.fidelity.max"
        )


def check_sampler(sampler: str, searched: Mapping[str, SpaceEntry]) -> None:
    """The sampler must support the space. Optuna 5 accepts these but falls back to random draws: `cma-es` for choices and with
    a single number, `cma-es` and `qmc` for hyperparameters with a condition."""
    conditional = [name for name, entry in searched.items() if conditions_of(entry)]
    if sampler in ("cma-es", "qmc") and conditional:
        raise ValueError(
            f"search.sampler: {sampler} does not support conditions, and {_listed(conditional)} "
            f"{'has' if len(conditional) == 1 else 'have'} one (when); remove it, or choose another sampler, like gp or tpe"
        )
    choices = [name for name, entry in searched.items() if isinstance(entry, Choices)]
    if sampler != "cma-es":
        return
    if choices:
        remedy = (
            "is a list of choices; set it to a value"
            if len(choices) == 1
            else "are lists of choices; set them to values"
        )
        raise ValueError(
            f"search.sampler: cma-es supports numbers only, and {_listed(choices)} {remedy}, or choose another sampler, "
            "like gp or tpe"
        )
    if len(searched) < 2:
        raise ValueError(
            f"search.sampler: cma-es needs at least two hyperparameters, not {len(searched)}; choose another, like gp or qmc"
        )


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def check_start(space: Mapping[str, SpaceEntry], configuration: Mapping[str, ParamValue], number: int) -> None:
    """Every value of a starting configuration must be in the space."""
    for name, value in configuration.items():
        where = f"start[{number}].{name}"
        if name not in space:
            raise ValueError(f"{where}: there is no such hyperparameter in [space]{did_you_mean(name, list(space))}")
        entry = space[name]
        if isinstance(entry, Constant):
            if not same_value(entry.value, value):
                raise ValueError(f"{where}: must be {show(entry.value)}, the value in [space], not {show(value)}")
            continue
        if not entry.contains(value):
            raise ValueError(f"{where}: must be {_allowed(entry)}, not {show(value)}")
        for other, condition in conditions_of(entry).items():
            if not all_hold({other: condition}, configuration):
                raise ValueError(f"{where}: requires {_stated(other, condition)} in the same configuration")


def _allowed(entry: SpaceEntry) -> str:
    if isinstance(entry, Choices):
        return f"one of {', '.join(show(choice) for choice in entry.choices)}"
    if isinstance(entry, Range):
        kind = {"int": "a whole number", "pow2": "a power of two", "float": "a number"}[entry.kind]
        steps = "" if entry.step is None else f" in steps of {show(entry.step)}"
        return f"{kind} from {show(entry.low)} to {show(entry.high)}{steps}"
    if isinstance(entry, ProbedBatch):
        return "a power of two" if entry.max is None else f"a power of two up to {entry.max}"
    return "a number above 0"
