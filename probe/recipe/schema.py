"""A recipe, schema 1: everything that a search is, as a validated, frozen value.

Field by field this accepts exactly what this version of probe does. Error texts are predicates: the loader puts the file and
the key in front of them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from probe.recipe.conditions import check_entry_names, check_sampler, check_scheduler, check_start, resolve_conditions
from probe.recipe.data_options import DataOptions, check_data_options
from probe.recipe.refine import Refine, RefinedSearch, check_refine
from probe.recipe.sections import Constraints, Duration, Fidelity, MemorySize, Validation
from probe.recipe.space import Choices, Constant, Scalar, Section, SpaceEntry
from probe.recipe.values import ParamValue, show
from probe.recipe.when import all_hold
from probe.records import Precision
from probe.units import parse_seconds

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Objective(Section):
    """What is searched for."""

    metric: str = Field(min_length=1)
    """A metric of the task, or `loss`, the validation loss."""
    mode: Literal["max", "min"]
    reduce: Literal["best", "last"] = "best"
    """A trial's value is its best epoch's, or its last one's."""


class TaskSection(Section):
    """What is trained: a named model on named data, or a callable that returns a probe.Task."""

    model: str | None = Field(default=None, min_length=1)
    data: str | None = Field(default=None, min_length=1)
    image_size: int | None = Field(default=None, ge=1)
    """Height and width in pixels that images are resized to."""
    num_train: int | None = Field(default=None, ge=2)
    """How many of the data's training samples are used, validation part included; all where it is not given."""
    weights: str | None = Field(default=None, min_length=1)
    """A file of weights that training starts from."""
    data_options: DataOptions = DataOptions()
    target: str | None = Field(default=None, pattern=r"^[^:\s]+:[^:\s]+$")
    validation: Validation = Validation()
    objective: Objective

    @field_validator("objective", mode="before")
    @classmethod
    def _check_objective(cls, objective: Any) -> Any:
        if isinstance(objective, (list, tuple)):
            raise ValueError(
                f"must be one table, not a list of {len(objective)}: ladders and samplers rank trials by one number; search "
                "once for each objective, or give the task a metric that weighs them"
            )
        return objective

    @model_validator(mode="after")
    def _check(self) -> TaskSection:
        if self.target is not None:
            extra = [
                name
                for name in ("model", "data", "image_size", "num_train", "weights")
                if getattr(self, name) is not None
            ]
            if extra:
                raise ValueError(f"target stands alone; it cannot be combined with {' and '.join(extra)}")
        elif self.model is None or self.data is None:
            missing = "data" if self.model else "model" if self.data else "model and data, or target,"
            raise ValueError(f"{missing} {'are' if ' and ' in missing else 'is'} missing")
        check_data_options(self.data, self.data_options)
        return self


class SearchSection(Section):
    sampler: Literal["auto", "tpe", "random", "grid", "gp", "cma-es", "evolutionary", "qmc"] = "auto"
    scheduler: Literal["auto", "none", "halving", "asha", "hyperband"] = "auto"
    seed: int = Field(default=0, ge=0)
    fidelity: Fidelity = Fidelity()
    on_oom: Literal["accumulate", "infeasible"] = "accumulate"
    """A trial that runs out of memory is run again with its batch split into halves, their gradients summed, down to single
    samples; or it is given up at once."""
    trial_time: Duration | None = None
    """The longest that one trial may train, over all of its rungs."""
    patience: int | None = Field(default=None, ge=1)
    """A trial ends when that many epochs brought nothing better."""
    constraints: Constraints = Constraints()
    refine: Refine | None = None
    """After the sampler's trials, gradient steps from the best one."""

    @property
    def trial_seconds(self) -> float | None:
        return None if self.trial_time is None else parse_seconds(self.trial_time)


class BudgetSection(Section):
    """The first limit reached ends the search."""

    trials: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)
    """Training epochs of all trials and probes together; the final fit is not counted."""
    time: Duration | None = None
    """`90s`, `2m`, `1h30m`; `none` is no limit, in place of another's."""

    @field_validator("time", mode="before")
    @classmethod
    def _read_none(cls, time: Any) -> Any:
        return None if time == "none" else time

    @property
    def time_seconds(self) -> float | None:
        return None if self.time is None else parse_seconds(self.time)

    @model_validator(mode="after")
    def _check(self) -> BudgetSection:
        if self.trials is None and self.epochs is None and self.time is None:
            raise ValueError("needs at least one of trials, epochs, time")
        return self


class BatchOptions(Section):
    """[batch]: the options of `probe batch`, and of the batch probe inside a search."""

    start: int | None = Field(default=None, ge=1)
    max: int | None = Field(default=None, ge=1)
    img: int | None = Field(default=None, ge=1)
    device: str | None = Field(default=None, min_length=1)
    memory: MemorySize | None = None
    precision: Precision | None = None
    optimizer: str | None = Field(default=None, min_length=1)


class LrOptions(Section):
    """[lr]: the options of `probe lr`, and of the range tests inside a search."""

    lowest: float | None = Field(default=None, gt=0, alias="from")
    highest: float | None = Field(default=None, gt=0, alias="to")
    steps: int | None = Field(default=None, ge=2)
    horizon: int | None = Field(default=None, ge=1)
    """Planned training steps; the recipe's epochs where it is not given."""
    repeats: int | None = Field(default=None, ge=1)
    confirm: bool | Literal["full"] = False
    per: Literal["optimizer"] | None = None
    batch: int | None = Field(default=None, ge=1)
    optimizer: str | None = Field(default=None, min_length=1)

    @field_validator("confirm", mode="before")
    @classmethod
    def _check_confirm(cls, confirm: Any) -> Any:
        if not isinstance(confirm, bool) and confirm != "full":
            raise ValueError(f'must be true, false or "full", not {show(confirm)}')
        return confirm

    @model_validator(mode="after")
    def _check(self) -> LrOptions:
        if self.lowest is not None and self.highest is not None and self.lowest >= self.highest:
            raise ValueError(f"from must be below to, not {show(self.lowest)} to {show(self.highest)}")
        return self


class Recipe(Section):
    """A whole recipe. `space` keeps the file's order: seeded samplers draw in it."""

    schema_version: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=NAME_PATTERN, max_length=100)
    """Of the run's folder and of the study."""
    task: TaskSection
    space: dict[str, SpaceEntry]
    search: SearchSection = SearchSection()
    budget: BudgetSection
    batch: BatchOptions = BatchOptions()
    lr: LrOptions = LrOptions()
    start: tuple[dict[str, Scalar], ...] = Field(default=(), strict=False)
    """Configurations to try first; what they leave out is sampled."""

    @field_validator("space")
    @classmethod
    def _check_space(cls, space: dict[str, SpaceEntry]) -> dict[str, SpaceEntry]:
        """Conditions on constants are settled here, so that every `when` of a recipe is about a searched entry above it."""
        check_entry_names(space)
        return resolve_conditions(space)

    @model_validator(mode="after")
    def _check_search(self) -> Recipe:
        check_scheduler(self.search.scheduler, self.space)
        check_sampler(self.search.sampler, self.searched)
        if self.search.refine is not None:
            refined = RefinedSearch(
                objective=(self.task.objective.metric, self.task.objective.mode),
                scheduler=self.search.scheduler,
                has_one_length=self.search.fidelity.unit == "epochs" and "epochs" not in self.space,
                validation=self.task.validation.kind,
                max_trials=self.budget.trials,
            )
            check_refine(self.search.refine, refined, self.space)
        return self

    @model_validator(mode="after")
    def _check_start(self) -> Recipe:
        for number, configuration in enumerate(self.start, start=1):
            check_start(self.space, configuration, number)
        return self

    @property
    def constants(self) -> dict[str, ParamValue]:
        return {name: entry.value for name, entry in self.space.items() if isinstance(entry, Constant)}

    @property
    def longest_epochs(self) -> int:
        """How long a trial is trained that nothing ends early: the longest, where the space has several lengths."""
        entry = self.space.get("epochs")
        return max(map(int, entry.choices)) if isinstance(entry, Choices) else self.search.fidelity.full_epochs

    @property
    def searched(self) -> dict[str, SpaceEntry]:
        """The entries that are not constants, in order."""
        return {name: entry for name, entry in self.space.items() if not isinstance(entry, Constant)}

    @property
    def first_values(self) -> dict[str, ParamValue]:
        """The constants and the first of every list of choices that exists with them: what a single probe trains."""
        values: dict[str, ParamValue] = {}
        for name, entry in self.space.items():
            if isinstance(entry, Constant):
                values[name] = entry.value
            elif isinstance(entry, Choices) and all_hold(entry.when, values):
                values[name] = entry.choices[0]
        return values

    def to_plain(self) -> dict[str, Any]:
        """What a TOML file of this recipe holds, defaults written out."""
        plain: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        for name, entry in plain["space"].items():
            if isinstance(entry, dict):  # `log = false, pow2 = false` beside every range says nothing
                plain["space"][name] = {key: value for key, value in entry.items() if value is not False}
        for section, table in (("search", "constraints"), ("task", "data_options")):
            if not plain[section][table]:
                del plain[section][table]
        return {key: value for key, value in plain.items() if value not in ({}, []) or key == "space"}
