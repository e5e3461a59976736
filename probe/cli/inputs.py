"""What a command works on: a recipe, task or model to train, or the folder of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from probe.cli.options import data_dir_option, option, recipe_argument, trust_option, whole_numbers
from probe.errors import OutputError, UsageError
from probe.limits import MAX_IMAGE_SIZE

if TYPE_CHECKING:
    from probe.recipe.schema import Recipe
    from probe.recipe.values import ParamValue
    from probe.records import RunMeta
    from probe.report.kinds import Result
    from probe.search.records.search import SearchResult
    from probe.tasks.source import TaskSource


LOCAL_RECIPE = Path("probe.toml")
"""Recipe that is used if neither a recipe nor a task nor a model is given."""

_ONE_SOURCE = "Give only one of RECIPE, --task M:F and --model NAME."


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """What to train, as typed. Raises UsageError if the options exclude each other."""

    title: ClassVar = "What to train"
    recipe: Path | None = recipe_argument()
    target: str | None = option("--task", metavar="M:F", help="Function F of module M that returns a probe.Task.")
    model: str | None = option("--model", metavar="NAME", help="Named model: mlp, cnn, or one of torchvision.")
    data: str | None = option("--data", metavar="NAME", help="Its data: digits, csv:PATH, ...  [default: synthetic]")
    img: tuple[int, ...] = option(
        "--img", callback=whole_numbers(MAX_IMAGE_SIZE), metavar="N,..", help="Its image size; several are compared."
    )
    data_dir: Path = data_dir_option()
    trust: bool = trust_option()

    def __post_init__(self) -> None:
        sources = (("RECIPE", self.recipe), ("--task", self.target), ("--model", self.model))
        given = [name for name, value in sources if value]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} cannot be combined.", hint=_ONE_SOURCE)
        if self.model is None:
            for name, value in (("--data", self.data), ("--img", ",".join(str(size) for size in self.img) or None)):
                if value is not None:
                    other = f", not {given[0]}" if given else ""
                    raise UsageError(f"{name} requires --model{other}.", hint=f"Like: --model resnet18 {name} {value}")

    @property
    def image_size(self) -> int | None:
        """The first image size, or None if none is given."""
        return self.img[0] if self.img else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSetup:
    """The task to train and its hyperparameters."""

    name: str
    """Name of the run's folder."""
    source: TaskSource
    params: Mapping[str, ParamValue]
    """Hyperparameters that replace the task's own."""
    recipe: Recipe | None = None
    note: str | None = None
    """Message about a default that was used, if any."""

    @property
    def recipe_hash(self) -> str | None:
        """Hash of the recipe's content, or None without a recipe."""
        from probe.recipe.dump import recipe_hash

        return None if self.recipe is None else recipe_hash(self.recipe)


def find_training_setup(options: SourceOptions) -> TrainingSetup:
    """Return the training that the options name, or a default if they name none."""
    if options.target is not None:
        return _setup_of_target(options.target)
    if options.model is not None:
        return _setup_of_model(options)
    if options.recipe is not None:
        return _setup_of_recipe(options.recipe, options)
    if LOCAL_RECIPE.is_file():
        setup = _setup_of_recipe(LOCAL_RECIPE, options)
        return replace(setup, note=f"Using {LOCAL_RECIPE} in the current folder: {setup.source.title}.")
    setup = _setup_of_model(replace(options, model="cnn", data="digits"))
    return replace(setup, note=f"No recipe, task or model is given: using the built-in {setup.source.title}.")


def search_recipe_path(given: Path | None) -> Path:
    """Return the path of the recipe to search: the given one, or probe.toml in the current folder."""
    if given is not None:
        _check_recipe_path(given)
        return given
    if LOCAL_RECIPE.is_file():
        return LOCAL_RECIPE
    raise UsageError(
        f"No recipe is given, and the current folder has no {LOCAL_RECIPE}.",
        hint="Give a recipe, like: probe search recipes/digits.toml",
    )


def with_settings(setup: TrainingSetup, **settings: ParamValue | None) -> TrainingSetup:
    """Replace settings of the trainer; None keeps the recipe's or the task's.

    A new optimizer drops the recipe's hyperparameters that it does not take, like momentum for Adam.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    kept = dict(setup.params)
    if isinstance(optimizer := given.get("optimizer"), str):
        from probe.training.optimizer_names import OPTIONAL, hyperparameters_of

        dropped = set(OPTIONAL) - hyperparameters_of(optimizer)
        kept = {name: value for name, value in kept.items() if name not in dropped}
    return replace(setup, params={**kept, **given})


def _setup_of_target(target: str) -> TrainingSetup:
    from probe.tasks.source import TargetSource
    from probe.training.building import load_keywords

    source = TargetSource(target=target)
    load_keywords(source)  # a typing error ends the command before the run's folder is created
    return TrainingSetup(name=target.replace(":", "-"), source=source, params={})


def _setup_of_model(options: SourceOptions) -> TrainingSetup:
    from probe.models.registry import full_name
    from probe.tasks.source import NamedSource

    data = options.data or "synthetic"
    name = full_name(options.model or "")  # not checked here: that would import torchvision
    if not name.isidentifier():  # the name becomes part of the run's folder
        from probe.models.registry import resolve_model

        resolve_model(name)
    source = NamedSource(model=name, data=data, data_dir=options.data_dir.absolute(), image_size=options.image_size)
    folder = name if data == "synthetic" else f"{name}-{_short_data_name(data)}"
    return TrainingSetup(name=folder, source=source, params={})


def _short_data_name(data: str) -> str:
    """Name of a data set in the name of a folder: `csv:my data/houses.csv` -> `houses`."""
    kind, colon, path = data.partition(":")
    stem = Path(path).stem if colon else kind
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in stem) or kind


def _setup_of_recipe(path: Path, options: SourceOptions) -> TrainingSetup:
    from probe.cli.trust import check_trusted
    from probe.recipe.load import load_recipe
    from probe.search.checks import check_recipe
    from probe.tasks.source import recipe_source

    _check_recipe_path(path)
    recipe = load_recipe(path)
    check_trusted(path, recipe, trust=options.trust)
    check_recipe(recipe)
    source = recipe_source(recipe, data_dir=options.data_dir)
    return TrainingSetup(name=recipe.name, source=source, params=recipe.first_values, recipe=recipe)


def _check_recipe_path(path: Path) -> None:
    """Raise UsageError if a task or a model was typed in place of a recipe. Other bad paths are errors of load_recipe."""
    text = str(path)
    if path.exists() or path.suffix == ".toml":
        return
    if ":" in text:
        raise UsageError(f"There is no recipe {text}.", hint=f"To name a task, use --task {text}")
    from probe.models.registry import model_names

    if text in model_names():
        raise UsageError(f"There is no recipe {text}.", hint=f"To name a model, use --model {text}")


def run_folder(run: Path) -> Path:
    """Return the folder of a run that is given by its folder or by its result.json."""
    return run.parent if run.is_file() else run


def load_run(path: Path) -> Result:
    """Load the result of a run from its folder or from its result.json.

    The result of a search that was killed, or resumed after its result.json was written, or whose result.json is damaged or
    of another run, is read from its search.sqlite.
    """
    from probe.report.store import RESULT_FILE, load_result
    from probe.search.records.search import DATABASE_FILE

    folder = path.parent if path.name == RESULT_FILE and path.is_file() else path
    if not (folder / DATABASE_FILE).is_file():
        return load_result(path)
    damage: OutputError | None = None
    if (folder / RESULT_FILE).exists():
        try:
            result = load_result(folder)
        except OutputError as error:
            damage = error
        else:
            sessions = _sessions(folder)
            damage = _foreign(folder, result, sessions)
            if damage is None and (path != folder or not _is_outdated(result, sessions)):
                return result
    return _result_of_rows(folder, damage)


def _sessions(folder: Path) -> list[RunMeta]:
    """Metadata of the processes that have worked on the search in `folder`; empty if its file cannot be read."""
    from probe.search.records.search import DATABASE_FILE
    from probe.search.storage.database import SearchDatabase

    try:
        with SearchDatabase.open(folder / DATABASE_FILE, to_write=False) as database:
            return database.sessions()
    except OutputError:
        return []


def _foreign(folder: Path, result: Result, sessions: Sequence[RunMeta]) -> OutputError | None:
    """The error for a result.json that is not of the search in the same folder; None if it may be."""
    if not sessions or (result.kind == "search" and result.meta.started_at == sessions[0].started_at):
        return None
    return OutputError(f"result.json in {folder} is of another run, of kind {result.kind}.")


def _is_outdated(result: Result, sessions: Sequence[RunMeta]) -> bool:
    """Whether the search was resumed after its result.json was written."""
    return result.kind == "search" and len(sessions) - 1 > result.num_resumes


def _result_of_rows(folder: Path, damage: OutputError | None) -> SearchResult:
    """The result of the rows in search.sqlite. `damage`: why result.json is not used, if there is one."""
    from probe.report.store import check_result
    from probe.search.stored_result import stored_result

    try:
        result = stored_result(folder, check=check_result)
    except OutputError:
        if damage is None:
            raise
        raise damage from None
    if damage is None:
        return result
    note = f"This report was made from search.sqlite. {damage.message}"
    return replace(result, warnings=(*result.warnings, note))


def load_search(run: Path, *, hint: str) -> SearchResult:
    """Load the result of a search. If the run is not a search, raises UsageError with `hint`."""
    result = load_run(run)
    if result.kind != "search":
        raise UsageError(f"{run} is not a search: its result is of kind {result.kind}.", hint=hint)
    return result


def run_to_resume(name: str, out: Path | None) -> Path:
    """Return the folder of the search to resume: `out`, or the newest run with this name."""
    from probe.report.store import REPORTS, newest_folder
    from probe.search.records.search import DATABASE_FILE

    folder = out or newest_folder(name)
    hint = "Give the folder of a search with --out, or start a new search without --resume."
    if folder is None:
        raise OutputError(f"There is no run named {name} in {REPORTS} to resume.", hint=hint)
    if not (folder / DATABASE_FILE).is_file():
        raise OutputError(f"{folder} contains no {DATABASE_FILE}, so there is nothing to resume.", hint=hint)
    return folder
