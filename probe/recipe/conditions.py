"""Rules of a recipe that concern several of its keys: names, conditions, starting configurations.

Each raises ValueError with a text that begins with the key it is about, relative to the table that is checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from probe.errors import near_misses
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


def check_entry_names(space: Mapping[str, SpaceEntry]) -> None:
    """Names that are identifiers; probes and values where the trainer's names allow them."""
    for name, entry in space.items():
        if not name.isidentifier():
            raise ValueError(f"{name}: a hyperparameter's name is letters, digits and underscores")
        if name == "epochs" and (not isinstance(entry, Choices) or entry.when):
            raise ValueError(
                "epochs: is searched as choices without a condition, like { choices = [5, 10, 20] }; "
                "one length for all trials is search.fidelity.max, or search.fidelity.epochs where the unit is data"
            )
        for kind, home in ((ProbedBatch, "batch_size"), (ProbedLr, "lr")):
            if isinstance(entry, kind) and name != home:
                raise ValueError(f'{name}: probe = "{entry.probe}" is for {home} only')
        for value in _values_of(entry):
            rule = broken_rule(name, value)
            if rule is not None:
                raise ValueError(f"{name}: must be {rule}, not {show(value)}")


def _values_of(entry: SpaceEntry) -> tuple[ParamValue, ...]:
    if isinstance(entry, Constant):
        return (entry.value,)
    if isinstance(entry, Choices):
        return entry.choices
    return (entry.low, entry.high) if isinstance(entry, Range) else ()


def resolve_conditions(space: Mapping[str, SpaceEntry]) -> dict[str, SpaceEntry]:
    """The space with every condition on a constant settled: dropped where it holds, its entry dropped where it does not.

    So `--set space.optimizer=adam` fixes the optimizer, and the momentum that belongs to sgd goes away by itself.
    """
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
    """With which values of others an entry exists; empty where it always does."""
    return getattr(entry, "when", None) or {}


def _check_condition(space: Mapping[str, SpaceEntry], name: str, other: str, condition: Condition) -> None:
    earlier = list(space)[: list(space).index(name)]
    if other not in earlier:
        if other == name or other not in space:
            close = near_misses(other, earlier)
            guess = f"; did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"{name}.when: there is no hyperparameter {other} above {name}{guess}")
        raise ValueError(f"{name}.when: {other} must stand above {name} in the space")
    parent = space[other]
    if isinstance(parent, (ProbedBatch, ProbedLr)):
        raise ValueError(
            f"{name}.when: {other} must be a value, a range or a list of choices to be a condition; "
            "what a probe finds is not known in advance"
        )
    where = f"{name}.when.{other}"
    if isinstance(condition, Bounds):
        texts = [value for value in _values_of(parent) if isinstance(value, (bool, str))]
        if texts:
            raise ValueError(f"{where}: min and max are for numbers, and {other} can be {show(texts[0])}")
    if isinstance(parent, Constant):
        return
    for value in listed_values(condition):
        if isinstance(parent, Range) and parent.kind == "float":
            raise ValueError(
                f"{where}: a range of numbers hardly ever draws exactly {show(value)}; "
                f"write bounds, like {{ min = {show(value)} }}"
            )
        if not parent.contains(value):
            raise ValueError(f"{where}: must be {_allowed(parent)}, not {show(value)}")
    if not _can_hold(parent, [condition]):
        raise ValueError(f"{where}: {show(plain_condition(condition))} never holds, as {other} is {_allowed(parent)}")


def _check_chain(space: Mapping[str, SpaceEntry], name: str) -> None:
    """The conditions of `name`, and those of the entries that they are about, can hold together."""
    needed: dict[str, list[Condition]] = {}
    waiting = [name]
    while waiting:
        for other, condition in conditions_of(space[waiting.pop()]).items():
            needed.setdefault(other, []).append(condition)
            waiting.append(other)
    for other, conditions in needed.items():
        if not _can_hold(space[other], conditions):
            listed = " and ".join(dict.fromkeys(_stated(other, condition) for condition in conditions))
            raise ValueError(f"{name}.when: never holds: it needs {listed} at once")


def _stated(other: str, condition: Condition) -> str:
    is_value = not isinstance(condition, (tuple, Bounds))
    return f"{other} = {show(condition)}" if is_value else f"{other} {condition_words(condition)}"


def _can_hold(parent: SpaceEntry, conditions: Sequence[Condition]) -> bool:
    if isinstance(parent, Range):
        whole, pow2 = parent.kind != "float", parent.pow2
        return holds_in_range(conditions, low=parent.low, high=parent.high, whole=whole, pow2=pow2)
    return any(all(holds(condition, value) for condition in conditions) for value in _values_of(parent))


def check_scheduler(scheduler: str, space: Mapping[str, SpaceEntry]) -> None:
    """Lengths of training are searched only where no ladder decides them; `auto` is none there."""
    if "epochs" in space and scheduler not in ("auto", "none"):
        raise ValueError(
            f'search.scheduler: must be "none" or "auto" with space.epochs, not "{scheduler}", which decides how long each '
            "trial trains; or remove space.epochs and set search.fidelity.max"
        )


def check_sampler(sampler: str, searched: Mapping[str, SpaceEntry]) -> None:
    """The sampler can search such a space.

    What Optuna 5 does not refuse itself: `cma-es` draws choices at random, `cma-es` and `qmc` draw whatever does not
    exist in every configuration at random, and `cma-es` needs two numbers to be more than a random walk.
    """
    conditional = [name for name, entry in searched.items() if conditions_of(entry)]
    if sampler in ("cma-es", "qmc") and conditional:
        raise ValueError(
            f"search.sampler: {sampler} needs a space in which everything always exists, and {_listed(conditional)} "
            f"{'does' if len(conditional) == 1 else 'do'} not (when); drop the condition, or take another sampler, "
            "like gp or tpe"
        )
    choices = [name for name, entry in searched.items() if isinstance(entry, Choices)]
    if sampler != "cma-es":
        return
    if choices:
        raise ValueError(
            f"search.sampler: cma-es searches numbers only, and {_listed(choices)} "
            f"{'is' if len(choices) == 1 else 'are'} searched by choices; fix {'it' if len(choices) == 1 else 'them'}, "
            "or take another sampler, like gp or tpe"
        )
    if len(searched) < 2:
        raise ValueError(
            f"search.sampler: cma-es needs at least two numbers to search, not {len(searched)}; take another, like gp or qmc"
        )


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def check_start(space: Mapping[str, SpaceEntry], configuration: Mapping[str, ParamValue], number: int) -> None:
    """Every value of a starting configuration must be one that the search could have drawn."""
    for name, value in configuration.items():
        where = f"start[{number}].{name}"
        if name not in space:
            close = near_misses(name, list(space))
            guess = f"; did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"{where}: there is no such hyperparameter in the space{guess}")
        entry = space[name]
        if isinstance(entry, Constant):
            if not same_value(entry.value, value):
                raise ValueError(
                    f"{where}: is fixed to {show(entry.value)} in the space, so it cannot be {show(value)}"
                )
            continue
        if not entry.contains(value):
            raise ValueError(f"{where}: must be {_allowed(entry)}, not {show(value)}")
        for other, condition in conditions_of(entry).items():
            if not all_hold({other: condition}, configuration):
                raise ValueError(f"{where}: exists only with {_stated(other, condition)}, which must stand beside it")


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
