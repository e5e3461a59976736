"""From RECIPE, --task or --model to what is trained: the same rules for `probe batch` and `probe lr`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from probe.errors import UsageError

if TYPE_CHECKING:
    from probe.recipe.schema import Recipe
    from probe.recipe.values import ParamValue
    from probe.tasks.source import TaskSource

LOCAL_RECIPE = Path("probe.toml")
"""Taken where neither a recipe nor a task nor a model is named."""

_ONE_SOURCE = "Name one of RECIPE, --task M:F and --model NAME."


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """What the source options say, as typed."""

    recipe: Path | None
    target: str | None
    model: str | None
    data: str | None
    img: int | None
    data_dir: Path

    def __post_init__(self) -> None:
        given = [
            name for name, value in (("RECIPE", self.recipe), ("--task", self.target), ("--model", self.model)) if value
        ]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} both say what is trained.", hint=_ONE_SOURCE)
        if self.model is None:
            for option, value in (("--data", self.data), ("--img", self.img)):
                if value is not None:
                    other = f", not with {given[0]}" if given else ""
                    raise UsageError(
                        f"{option} goes with --model{other}.", hint=f"Like: --model resnet18 {option} {value}"
                    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is trained, and the hyperparameters that are not the task's own."""

    name: str
    """Of the run's folder."""
    source: TaskSource
    params: Mapping[str, ParamValue]
    recipe: Recipe | None = None
    note: str | None = None
    """What was taken because nothing was named."""

    @property
    def recipe_hash(self) -> str | None:
        from probe.recipe.dump import recipe_hash

        return None if self.recipe is None else recipe_hash(self.recipe)


def find_subject(options: SourceOptions) -> Subject:
    """What is trained. Raises UsageError, RecipeError, TaskError for a recipe, target or model that is not there."""
    if options.target is not None:
        return _target_subject(options.target)
    if options.model is not None:
        return _named_subject(options)
    if options.recipe is not None:
        return _recipe_subject(options.recipe, options.data_dir)
    if LOCAL_RECIPE.is_file():
        subject = _recipe_subject(LOCAL_RECIPE, options.data_dir)
        return replace(subject, note=f"Taking the {LOCAL_RECIPE} of this folder: {subject.source.title}.")
    subject = _named_subject(replace(options, model="cnn", data="digits"))
    return replace(
        subject,
        note=f"No recipe, task or model named: taking the built-in {subject.source.title}.",
    )


def search_recipe_path(given: Path | None) -> Path:
    """The recipe of `probe search`. Raises UsageError where none is named and there is no probe.toml to take."""
    if given is not None:
        _check_recipe_path(given)
        return given
    if LOCAL_RECIPE.is_file():
        return LOCAL_RECIPE
    raise UsageError(
        f"Which recipe? None is named, and there is no {LOCAL_RECIPE} in this folder.",
        hint="Like: probe search recipes/digits.toml",
    )


def with_settings(subject: Subject, **settings: ParamValue | None) -> Subject:
    """With the trainer's `settings` in place of the recipe's and the task's; None leaves one as it is.

    A new optimizer drops those of the recipe's hyperparameters that it does not take, like momentum for Adam. Raises
    UsageError for an unknown optimizer.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    kept = dict(subject.params)
    if isinstance(optimizer := given.get("optimizer"), str):
        from probe.training.optim.names import hyperparameters_of

        taken = hyperparameters_of(optimizer)
        kept = {name: value for name, value in kept.items() if name not in {"momentum", "weight_decay"} - taken}
    return replace(subject, params={**kept, **given})


def _target_subject(target: str) -> Subject:
    from probe.tasks.source import TargetSource
    from probe.training.building import load_keywords

    source = TargetSource(target=target)
    load_keywords(source)  # a mistyped one is an error before the run has a folder
    return Subject(name=target.replace(":", "-"), source=source, params={})


def _named_subject(options: SourceOptions) -> Subject:
    from probe.models.registry import full_name
    from probe.tasks.source import NamedSource

    data = options.data or "synthetic"
    name = full_name(options.model or "")  # whether it is known, the worker says, which has PyTorch
    if not name.isidentifier():  # it would be part of a folder's name
        from probe.models.registry import resolve_model

        resolve_model(name)
    source = NamedSource(model=name, data=data, data_dir=options.data_dir.absolute(), image_size=options.img)
    return Subject(name=name if data == "synthetic" else f"{name}-{_data_word(data)}", source=source, params={})


def _data_word(data: str) -> str:
    """What a run's folder calls a data set: `csv:my data/houses.csv` -> `houses`."""
    kind, colon, path = data.partition(":")
    stem = Path(path).stem if colon else kind
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in stem) or kind


def _recipe_subject(path: Path, data_dir: Path) -> Subject:
    from probe.recipe.load import load_recipe
    from probe.tasks.source import recipe_source

    _check_recipe_path(path)
    recipe = load_recipe(path)
    source = recipe_source(recipe, data_dir=data_dir)
    return Subject(name=recipe.name, source=source, params=recipe.first_values, recipe=recipe)


def _check_recipe_path(path: Path) -> None:
    """Raise UsageError for a task or a model typed where a recipe belongs; other bad paths are load_recipe's to explain."""
    text = str(path)
    if path.exists() or path.suffix == ".toml":
        return
    if ":" in text:
        raise UsageError(f"There is no recipe {text}.", hint=f"A task is named with --task {text}")
    from probe.models.registry import model_names

    if text in model_names():
        raise UsageError(f"There is no recipe {text}.", hint=f"A model is named with --model {text}")
