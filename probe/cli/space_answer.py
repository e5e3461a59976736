"""The output of `probe space`: the space of a recipe and what a search of it costs. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from probe.batch.decide import SIZE_STEPS
from probe.limits import MAX_GRID
from probe.recipe.schema import Recipe
from probe.recipe.space import Choices, ProbedBatch, ProbedLr, Range, SpaceEntry
from probe.recipe.when import condition_words
from probe.report.shared.summary import Line, Table, labelled
from probe.report.shared.wording import plural
from probe.search.proposers import describe_proposer
from probe.search.records.objective import direction_warning
from probe.search.records.search import BudgetLimits, Dimension
from probe.search.samplers.auto_sampler import (
    NOT_LEARNING,
    NOTHING_SEARCHED,
    SamplerChoice,
    choose_sampler,
    grid_cost,
    grid_warning,
)
from probe.search.schedulers.fidelity import FidelitySchedule, make_fidelity_schedule, rung_name
from probe.search.schedulers.hyperband import brackets_of
from probe.search.schedulers.registry import SchedulerChoice, choose_scheduler, make_scheduler
from probe.search.space.configurations import MAX_COUNTED, grid_positions, num_configurations
from probe.search.space.dimensions import expected_space, optimizers_of
from probe.search.space.space import Space, axis_of
from probe.search.study.budget import LR_STEPS, probe_allowance
from probe.search.study.kept_checkpoints import peak_checkpoints
from probe.training.optimizer_names import OPTIMIZER_NAMES, num_state_values
from probe.units import format_bytes, format_count, format_seconds, format_value


def space_lines(recipe: Recipe) -> list[Line]:
    """The space, sampler, scheduler, budget and probes of a recipe. Raises RecipeError if its grid is too large."""
    space, scheduler = expected_space(recipe), choose_scheduler(recipe)
    fidelity = make_fidelity_schedule(recipe, scheduler.rungs)
    rungs = fidelity.total_costs
    budget = recipe.budget
    limits = BudgetLimits(trials=budget.trials, epochs=budget.epochs, time_seconds=budget.time_seconds)
    choice = choose_sampler(recipe.search.sampler, space, limits=limits, rungs=rungs)
    lines: list[Line] = [("Recipe", f"{recipe.name}: {recipe.task.objective.mode} {recipe.task.objective.metric}")]
    if space.dimensions:
        lines.append(("Space", _space_table(recipe, space)))
    fixed = ", ".join(f"{name} {format_value(value)}" for name, value in recipe.constants.items())
    lines += [("Fixed", fixed)] if fixed else []
    lines += [("Size", _size(space)), ("Grid", _grid(space, limits, rungs))]
    lines.append(("Sampler", choice.reason or choice.name))
    lines += labelled("Scheduler", _scheduler(recipe, scheduler, fidelity))
    lines += labelled("Disk", _disk(recipe, scheduler, fidelity, limits))
    lines += labelled("Then", describe_proposer(recipe, fidelity.full_epochs))
    lines.append(("Budget", _budget(limits)))
    lines += labelled("Probes", _probes(recipe, limits, first_rung_epochs=rungs[0]))
    starts = [", ".join(f"{name} {format_value(value)}" for name, value in start.items()) for start in recipe.start]
    first = [text or "a configuration drawn at random" for text in starts]
    lines += labelled("First", first + _default_starts(recipe, space, choice))
    warnings = [
        None if space.dimensions else NOTHING_SEARCHED,
        direction_warning(recipe.task.objective.metric, recipe.task.objective.mode),
        grid_warning(space, limits=limits, rungs=rungs) if choice.name == "grid" else None,
    ]
    return lines + labelled("Warning", warnings)


def _default_starts(recipe: Recipe, space: Space, choice: SamplerChoice) -> list[str]:
    """The starting points that a sampler that learns adds."""
    if choice.name in NOT_LEARNING or not space.dimensions:
        return []
    lr = recipe.space.get("lr")
    optimizers = optimizers_of(recipe, None) if isinstance(lr, ProbedLr) and lr.per == "optimizer" else ()
    each = f", with each of {', '.join(optimizers)}" if len(optimizers) > 1 else ""
    probed = ", once learning rates are probed" if isinstance(lr, ProbedLr) else ""
    return [f"usual values, with the middle of the other ranges{probed}{each}"]


def _space_table(recipe: Recipe, space: Space) -> Table:
    rows = [
        (dimension.name, _values(recipe.space[dimension.name], dimension), format_count(len(grid_positions(dimension))))
        for dimension in space.dimensions
    ]
    return Table(header=("hyperparameter", "values", "in a grid"), rows=tuple(rows), num_left=2)


def _values(entry: SpaceEntry, dimension: Dimension) -> str:
    when = " and ".join(f"{name} {condition_words(condition)}" for name, condition in (dimension.when or {}).items())
    return _range(entry) + (f"; only with {when}" if when else "")


def _range(entry: SpaceEntry) -> str:
    if isinstance(entry, Choices):
        return ", ".join(format_value(value) for value in entry.choices)
    if isinstance(entry, ProbedBatch):
        return "powers of two that fit" + ("" if entry.max is None else f", up to {entry.max}")
    if isinstance(entry, ProbedLr):
        return "from a range test" + (" for each optimizer" if entry.per == "optimizer" else "")
    if isinstance(entry, Range):
        kind = {"pow2": ", powers of two", "int": ", whole", "float": ""}[entry.kind]
        scale = ", log" if entry.log else "" if entry.step is None else f", in steps of {format_value(entry.step)}"
        return f"{format_value(entry.low)} to {format_value(entry.high)}{kind}{scale}"
    return format_value(entry.value)


def _size(space: Space) -> str:
    counted = num_configurations(space)
    if counted is not None:
        return plural(counted, "configuration")
    names = [dimension.name for dimension in space.dimensions if axis_of(dimension).kind == "float"]
    if names:
        return f"unlimited: {', '.join(names)} can be any number in {'its' if len(names) == 1 else 'their'} range"
    return f"more than {format_count(MAX_GRID)} configurations"


def _grid(space: Space, limits: BudgetLimits, rungs: Sequence[float]) -> str:
    cost = grid_cost(space, limits=limits, full_epochs=rungs[-1])
    if cost.size == MAX_COUNTED:
        return f"more than {format_count(MAX_COUNTED)} configurations"
    text = f"{plural(cost.size, 'configuration')}, {plural(cost.epochs, 'epoch')} to train each to the end"
    if limits.epochs is not None and cost.epochs > limits.epochs:
        return f"{text}: {format_count(cost.epochs / limits.epochs)} times the budget"
    if limits.trials is not None and cost.size > limits.trials:
        return f"{text}; the budget is {plural(limits.trials, 'trial')}"
    return f"{text}: within the budget" if cost.fits else text


def _scheduler(recipe: Recipe, scheduler: SchedulerChoice, fidelity: FidelitySchedule) -> list[str]:
    """The name of the scheduler or why it was chosen, and what it does."""
    first, *lines = _scheduler_lines(recipe, scheduler, fidelity)
    lines = [f"{scheduler.name}: {first}", *lines] if scheduler.reason is None else [scheduler.reason, first, *lines]
    if fidelity.unit == "data":
        each, epochs = ", ".join(map(format_count, fidelity.costs)), plural(fidelity.data_epochs, "epoch")
        lines.append(f"each rung trains from scratch for {epochs}: the rungs cost {each} epochs")
    folds = fidelity.num_folds
    return lines + [f"in {folds} folds: an epoch of a trial costs {folds} epochs of the budget"] * (folds > 1)


def _scheduler_lines(recipe: Recipe, scheduler: SchedulerChoice, fidelity: FidelitySchedule) -> list[str]:
    lengths = recipe.space.get("epochs")
    if isinstance(lengths, Choices):
        *before, last = map(str, sorted(map(int, lengths.choices)))
        return [f"each trial trains for its own number of epochs: {', '.join(before)}{' or ' if before else ''}{last}"]
    by_data, factor = fidelity.unit == "data", scheduler.factor
    names = [rung_name(fidelity.unit, rung) for rung in fidelity.rungs]
    if len(names) == 1:
        on = f"on {names[0]} of the training data, " if by_data and names != ["100 %"] else ""
        return [f"each trial trains {on}for {plural(fidelity.full_epochs, 'epoch')}"]
    *before, last = names[:-1]
    steps = f"{', '.join(before)} and {last}" if before else last
    when = f"on {steps} of the training data" if by_data else f"after {steps} epoch{'s' if steps != '1' else ''}"
    lines = [f"trials are ranked {when}; the best 1 in {factor} is promoted, at most to {names[-1]}"]
    if scheduler.name == "halving":
        cohort = plural(factor ** (len(names) - 1), "trial")
        lines.append(f"in cohorts of {cohort}, and each rung is decided when all of them have reached it")
    if scheduler.name == "hyperband":
        for bracket in brackets_of(len(names) - 1, factor):
            rung = names[bracket.first_decision_rung]
            first = f"first ranked {'on' if by_data else 'after'} {rung}"
            how = "trained to the end" if bracket.first_decision_rung == len(names) - 1 else first
            lines.append(f"{plural(bracket.num_trials, 'trial')} of each round {how}")
    return lines


def _disk(recipe: Recipe, scheduler: SchedulerChoice, fidelity: FidelitySchedule, limits: BudgetLimits) -> list[str]:
    """The largest disk use of the checkpoints of paused trials; empty if none is ever written."""
    if not fidelity.continues_from_checkpoint or len(fidelity.rungs) == 1:
        return []
    mode = recipe.task.objective.mode
    make = partial(
        make_scheduler, scheduler.name, scheduler.rungs, factor=scheduler.factor, mode=mode, costs=fidelity.costs
    )
    peak = peak_checkpoints(make, limits)
    values = _state_values(recipe)
    low, high = (4 * (1 + values_of_one) * fidelity.num_folds for values_of_one in (min(values), max(values)))
    size = f"{high} bytes per trainable parameter" if low == high else f"{low} to {high} bytes per trainable parameter"
    each = f"a checkpoint needs {size}{', with one model per fold' if fidelity.num_folds > 1 else ''}"
    if peak is None:
        return ["one checkpoint for each paused trial; the number of trials within the time is not known", each]
    most = format_bytes(peak * high * 1_000_000)
    return [
        f"up to about {plural(peak, 'checkpoint')} at a time with one worker, a few more with several",
        f"{each}: {most} in total for a model with 1,000,000 parameters",
    ]


def _state_values(recipe: Recipe) -> list[int]:
    """Numbers that each optimizer of the space stores per parameter; those of SGD and Adam for an optimizer of the task."""
    entry = recipe.space.get("optimizer")
    names = entry.choices if isinstance(entry, Choices) else [recipe.constants.get("optimizer")]
    momentum = recipe.constants.get("momentum") != 0 and ("momentum" in recipe.space or "momentum" in recipe.constants)
    known = [name for name in names if isinstance(name, str) and name in OPTIMIZER_NAMES] or ["sgd", "adam"]
    return [num_state_values(name, momentum=momentum) for name in known]


def _budget(limits: BudgetLimits) -> str:
    given = [plural(limits.trials, "trial")] if limits.trials is not None else []
    given += [f"{format_count(limits.epochs)} epochs"] if limits.epochs is not None else []
    given += [format_seconds(limits.time_seconds)] if limits.time_seconds is not None else []
    return ", ".join(given) + (", whichever is reached first" if len(given) > 1 else "")


def _probes(recipe: Recipe, limits: BudgetLimits, *, first_rung_epochs: float) -> list[str]:
    """The cost of the probes, as far as it is known without the data."""
    lines = []
    if isinstance(recipe.space.get("batch_size"), ProbedBatch):
        lines.append(f"batch size: {SIZE_STEPS} training steps for each size tried, the largest first")
    lr = recipe.space.get("lr")
    if isinstance(lr, ProbedLr):
        optimizers = optimizers_of(recipe, None) if lr.per == "optimizer" else ()
        each = f" for each of {', '.join(optimizers)}" if len(optimizers) > 1 else ""
        lines.append(f"learning rate: a range test of up to {recipe.lr.steps or LR_STEPS} training steps{each}")
    if lines and limits.epochs is not None:
        most = format_count(probe_allowance(limits, first_rung_epochs=first_rung_epochs))
        lines.append(f"together at most {most} of the epochs; a rule of thumb replaces what they do not cover")
    return lines
