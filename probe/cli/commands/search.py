"""`probe search`: find the hyperparameters within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from probe.cli.help_layout import ProbeCommand
from probe.cli.options import (
    ChangeOptions,
    OutputOptions,
    command_line,
    data_dir_option,
    device_option,
    option,
    path_option,
    recipe_seed_option,
    trust_option,
    whole_number,
    with_options,
)
from probe.errors import OutputError
from probe.limits import MAX_WORKERS

if TYPE_CHECKING:
    from probe.cli.output import Output
    from probe.errors import ProbeError
    from probe.recipe.schema import Recipe
    from probe.search.records.search import SearchResult


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetOptions:
    """Short forms of `--set` for keys that are changed often."""

    title: ClassVar = "Budget"
    trials: str | None = option("--trials", metavar="N", help="Number of trials; same as --set budget.trials=N.")
    epochs: str | None = option("--epochs", metavar="N", help="Epochs of all trials; same as --set budget.epochs=N.")
    time: str | None = option("--time", metavar="T", help="90s, 2m, 1h30m or none; same as --set budget.time=T.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOptions:
    """Where and how trials run."""

    title: ClassVar = "Execution"
    workers: int | None = option(
        "--workers",
        callback=whole_number(MAX_WORKERS),
        metavar="N",
        help="Parallel trials.  [default: one per GPU, or 1 to 4]",
    )
    device: str | None = device_option()
    data_dir: Path = data_dir_option()
    ray: str | None = option("--ray", metavar="ADDRESS", help="Ray cluster: auto, HOST:PORT, or local:N to start one.")
    storage: Path | None = path_option(
        "--storage",
        metavar="PATH",
        help="Folder for checkpoints that all nodes see; required if the cluster has several machines.",
    )
    seed: int | None = recipe_seed_option()
    deterministic: bool = option("--deterministic", is_flag=True, help="Reproducible: one worker, no use of the clock.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeOptions:
    """Resuming an earlier search."""

    title: ClassVar = "Resume"
    resume: bool = option("--resume", is_flag=True, help="Resume the search in --out, or the newest search.")
    allow_code_changes: bool = option(
        "--allow-code-changes", is_flag=True, help="Resume even if the code of the task has changed."
    )
    trust: bool = trust_option()


@click.command(
    cls=ProbeCommand,
    short_help="Find the best hyperparameters within a budget.",
    examples=(
        ("probe search recipes/digits.toml", "Search as the recipe says"),
        ("probe search recipes/mnist.toml --trials 5 --time 2m", "Use a smaller budget"),
        ("probe search recipes/mnist.toml --set search.sampler=random", "Change a key of the recipe"),
        ("probe search recipes/mnist.toml --try lr=0.01,width=16", "Try your own configuration first"),
        ("probe search recipes/mnist.toml --resume", "Resume after Ctrl-C, a crash or a reboot"),
    ),
)
@with_options(
    recipe=ChangeOptions, budget=BudgetOptions, execution=ExecutionOptions, resuming=ResumeOptions, output=OutputOptions
)
def search(
    recipe: ChangeOptions,
    budget: BudgetOptions,
    execution: ExecutionOptions,
    resuming: ResumeOptions,
    output: OutputOptions,
) -> int:
    """Search the hyperparameters of RECIPE.

    Finds batch size and learning rate if the recipe asks for it, tries configurations within the budget, trains the best
    one again and scores it once on the test data. RECIPE defaults to the probe.toml in this folder.
    """
    from probe.cli.inputs import search_recipe_path
    from probe.cli.live.progress import open_progress, waiting
    from probe.cli.output import exit_code, open_output, with_partial_result
    from probe.cli.trust import check_trusted
    from probe.device.select import parse_device
    from probe.recipe.load import load_recipe
    from probe.search.checks import check_recipe
    from probe.search.executors.ray.resources import parse_ray_address

    with waiting("starting", quiet=output.quiet):
        path = search_recipe_path(recipe.recipe)
        loaded = load_recipe(
            path, overrides=all_changes(recipe.changes, _shortcuts(budget, execution)), tries=recipe.tries
        )
        check_trusted(path, loaded, trust=resuming.trust)
        device = parse_device(execution.device or "auto")
        if execution.ray is not None:
            parse_ray_address(execution.ray)
        if not resuming.resume:
            check_recipe(loaded)
        # The import loads PyTorch, so the checks come first.
        from probe.search.find import find_hyperparameters
    with open_output(loaded.name, output, resume=resuming.resume) as run:
        summary = _summary(loaded, resumed_in=run.shown_folder if resuming.resume else None)
        run.print_note(f"Searching {path}: {summary}.")
        with open_progress("search", quiet=output.quiet, constants=loaded.constants) as observer:
            result, error = with_partial_result(
                find_hyperparameters,
                loaded,
                observer=observer,
                device=device,
                num_workers=execution.workers,
                data_dir=execution.data_dir,
                ray=execution.ray,
                storage=execution.storage,
                folder=run.folder,
                resume=resuming.resume,
                deterministic=execution.deterministic,
                allow_code_changes=resuming.allow_code_changes,
                trust=resuming.trust,
                argv=command_line(),
            )
        _finish(run, result, error)
    return exit_code(result, error)


def _shortcuts(budget: BudgetOptions, execution: ExecutionOptions) -> dict[str, str | int | None]:
    """Return the keys of the recipe that options stand for."""
    return {
        "budget.trials": budget.trials,
        "budget.epochs": budget.epochs,
        "budget.time": budget.time,
        "search.seed": execution.seed,
    }


def _finish(run: Output, result: SearchResult, error: ProbeError | None) -> None:
    """Write and print the result, and how to resume an interrupted search."""
    from probe.search.records.search import DATABASE_FILE

    try:
        run.finish(result)
    except OutputError:
        if error is None:  # a full disk causes two errors, and the first one is raised by the caller
            raise
    if result.stopped_by == "interrupted" and (run.folder / DATABASE_FILE).is_file():
        how = f"to resume the search, add --resume --out {run.shown_folder} to the same command"
        run.print_answer([("Next", how)])


def _summary(recipe: Recipe, *, resumed_in: Path | None) -> str:
    """Return what is searched and how, in one line: `max accuracy, by gp and asha`."""
    from probe.search.schedulers.registry import choose_scheduler

    goal = f"{recipe.task.objective.mode} {recipe.task.objective.metric}"
    if resumed_in is not None:
        return f"{goal}, resumed in {resumed_in}"
    scheduler = choose_scheduler(recipe).name
    method = recipe.search.sampler if scheduler == "none" else f"{recipe.search.sampler} and {scheduler}"
    return f"{goal}, by {method}"


def all_changes(changes: Sequence[str], shortcuts: dict[str, str | int | None]) -> tuple[str, ...]:
    """Return the changes of the recipe: those of --set first, then those of the options that stand for one."""
    return (*changes, *(f"{key}={value}" for key, value in shortcuts.items() if value is not None))
