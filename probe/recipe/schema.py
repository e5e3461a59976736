"""The schema of a recipe, version 1: frozen, validated pydantic models, one for each section of the file.

The docstring below a field is its entry in docs/recipe.md. Validators raise ValueError with the rest of a sentence, because
the loader writes the file and the key in front of it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from probe import limits
from probe.recipe.checks import (
    check_entry_names,
    check_renamed_entries,
    check_sampler,
    check_scheduler,
    check_start,
    resolve_conditions,
)
from probe.recipe.refine import Refine, RefinedSearch, check_refine
from probe.recipe.sections import Constraints, DataOptions, Duration, Fidelity, MemorySize, Validation
from probe.recipe.space import Choices, Constant, Scalar, Section, SpaceEntry, Text
from probe.recipe.values import ParamValue, show
from probe.recipe.when import all_hold
from probe.records import Precision
from probe.units import parse_seconds

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Objective(Section):
    """The metric that the search optimizes."""

    metric: Text
    """Name of a metric of the task, or `loss` for the validation loss."""
    mode: Literal["max", "min"]
    """Whether the metric is maximized or minimized."""
    reduce: Literal["best", "last"] = "best"
    """Whether the value of a trial is that of its best epoch or of its last epoch."""


class TaskSection(Section):
    """What is trained: a named model on named data, or a callable that returns a `probe.Task`."""

    model: Text | None = None
    """Name of a model: one of `probe`'s own networks or of torchvision's."""
    data: Text | None = None
    """Name of a data set, or a kind and a path like `csv:houses.csv`."""
    image_size: int | None = Field(default=None, ge=1, le=limits.MAX_IMAGE_SIZE)
    """Height and width in pixels to which images are resized."""
    num_train: int | None = Field(default=None, ge=2, le=limits.MAX_SAMPLES)
    """Number of training samples to use, the validation split included; all by default."""
    weights: Text | None = None
    """File of weights from which training starts."""
    data_options: DataOptions = DataOptions()
    """Options of a data file; see task.data_options."""
    target: Text | None = Field(default=None, pattern=r"^[^:\s]+:[^:\s]+$")
    """`module:callable` that returns a `probe.Task`; replaces model and data."""
    validation: Validation = Validation()
    """How trials are validated; see task.validation."""
    objective: Objective
    """The metric that the search optimizes; see task.objective."""

    @field_validator("objective", mode="before")
    @classmethod
    def _check_objective(cls, objective: Any) -> Any:
        if isinstance(objective, (list, tuple)):
            raise ValueError(
                f"must be one table, not a list of {len(objective)}: a search ranks trials by one number; search once for "
                "each objective, or give the task a metric that combines them"
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
                raise ValueError(f"target cannot be combined with {' and '.join(extra)}; remove one or the other")
        elif self.model is None or self.data is None:
            missing = "data" if self.model else "model" if self.data else "model and data, or target,"
            raise ValueError(f"{missing} {'are' if ' and ' in missing else 'is'} missing")
        self.data_options.check_kind(self.data)
        return self


SamplerName = Literal["tpe", "random", "grid", "gp", "cma-es", "evolutionary", "qmc"]
"""Names of `probe.search.samplers.registry.SAMPLERS`."""
SchedulerName = Literal["none", "halving", "asha", "hyperband"]
"""Names of `probe.search.schedulers.registry.SCHEDULERS`."""


class SearchSection(Section):
    """How the space is searched."""

    sampler: Literal["auto", SamplerName] = "auto"
    """The method that suggests configurations."""
    scheduler: Literal["auto", SchedulerName] = "auto"
    """The method that decides how far each trial is trained."""
    seed: int = Field(default=0, ge=0, le=limits.MAX_INTEGER)
    """Seed of every random draw: configurations, initial weights, order of the batches."""
    fidelity: Fidelity = Fidelity()
    """The lengths of training at which trials are ranked; see search.fidelity."""
    on_oom: Literal["accumulate", "infeasible"] = "accumulate"
    """Response to a trial that runs out of memory: `accumulate` splits its batch into halves, down to single samples, and sums
    their gradients; `infeasible` ends the trial."""
    trial_time: Duration | None = None
    """Maximum training time of one trial, over all of its rungs."""
    patience: int | None = Field(default=None, ge=1, le=limits.MAX_EPOCHS)
    """Number of epochs without improvement after which a trial stops."""
    constraints: Constraints = Constraints()
    """Limits on a trial; see search.constraints."""
    refine: Refine | None = None
    """Gradient steps from the best trial of the sampler; see search.refine."""

    @property
    def trial_seconds(self) -> float | None:
        return None if self.trial_time is None else parse_seconds(self.trial_time)


class BudgetSection(Section):
    """Limits of the search; the first one reached ends it. At least one is required."""

    trials: int | None = Field(default=None, ge=1, le=limits.MAX_TRIALS)
    """Maximum number of trials."""
    epochs: float | None = Field(default=None, gt=0, le=limits.MAX_BUDGET_EPOCHS)
    """Maximum number of training epochs, summed over all trials and probes; final training is not counted."""
    time: Duration | None = None
    """Maximum duration, like `90s`, `2m` or `1h30m`; `none` removes a limit that was set before."""

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
    """Options of `probe batch` and of the batch probe of a search."""

    start: int | None = Field(default=None, ge=1, le=limits.MAX_SAMPLES)
    """First batch size to try; predicted by default."""
    max: int | None = Field(default=None, ge=1, le=limits.MAX_SAMPLES)
    """Largest batch size to try."""
    img: int | None = Field(default=None, ge=1, le=limits.MAX_IMAGE_SIZE)
    """Height and width in pixels to which images are resized."""
    device: Text | None = None
    """Device to measure on: `auto`, `cuda:N`, `cpu` or `simulated:SIZE`."""
    memory: MemorySize | None = None
    """Amount of GPU memory to emulate, like `8GiB`."""
    precision: Precision | None = None
    """Precision of the training steps."""
    optimizer: Text | None = None
    """Optimizer of the training steps."""


class LrOptions(Section):
    """Options of `probe lr` and of the range tests of a search."""

    lowest: float | None = Field(default=None, ge=limits.SMALLEST, le=limits.LARGEST, alias="from")
    """Learning rate at the start of a range test."""
    highest: float | None = Field(default=None, ge=limits.SMALLEST, le=limits.LARGEST, alias="to")
    """Learning rate at the end of a range test."""
    steps: int | None = Field(default=None, ge=2, le=limits.MAX_MEASURED_STEPS)
    """Number of training steps of a range test."""
    training_steps: int | None = Field(default=None, ge=1, le=limits.MAX_STEPS)
    """Length of the planned training in steps; by default that of the recipe's epochs."""
    repeats: int | None = Field(default=None, ge=1, le=limits.MAX_REPEATS)
    """Number of range tests with different seeds."""
    confirm: bool | Literal["full"] = False
    """Whether to check the suggestion with short runs on held-out data; `"full"` makes them longer."""
    per: Literal["optimizer"] | None = None
    """`"optimizer"` makes one range test for each optimizer of the space."""
    batch: int | None = Field(default=None, ge=1, le=limits.MAX_SAMPLES)
    """Batch size of the range tests."""
    optimizer: Text | None = None
    """Optimizer of the range tests."""

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
    """A recipe. `space` keeps the order of the file, because seeded samplers draw hyperparameters in that order."""

    schema_version: Literal[1] = Field(alias="schema")
    """Version of this format."""
    name: str = Field(pattern=NAME_PATTERN, max_length=limits.MAX_NAME)
    """Name of the search; results are written to `reports/<name>-<time>`."""
    task: TaskSection
    """What is trained."""
    space: dict[str, SpaceEntry] = Field(max_length=limits.MAX_DIMENSIONS)
    """The hyperparameters: a plain value is fixed, a table is searched."""
    search: SearchSection = SearchSection()
    """How the space is searched."""
    budget: BudgetSection
    """When the search ends."""
    batch: BatchOptions = BatchOptions()
    """Options of the batch probe."""
    lr: LrOptions = LrOptions()
    """Options of the range tests."""
    start: tuple[dict[str, Scalar], ...] = Field(default=(), strict=False, max_length=limits.MAX_STARTS)
    """Configurations to try first; the sampler draws the hyperparameters that they omit."""

    @field_validator("space")
    @classmethod
    def _check_space(cls, space: dict[str, SpaceEntry]) -> dict[str, SpaceEntry]:
        """Check names and resolve conditions on constants, so that every remaining `when` refers to a searched entry."""
        check_entry_names(space)
        return resolve_conditions(space)

    @model_validator(mode="after")
    def _check_search(self) -> Recipe:
        if self.task.target is None:
            check_renamed_entries(self.space)
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
        """The hyperparameters with a fixed value."""
        return {name: entry.value for name, entry in self.space.items() if isinstance(entry, Constant)}

    @property
    def longest_epochs(self) -> int:
        """Epochs of the longest training that a trial can have."""
        entry = self.space.get("epochs")
        return max(map(int, entry.choices)) if isinstance(entry, Choices) else self.search.fidelity.full_epochs

    @property
    def searched(self) -> dict[str, SpaceEntry]:
        """The entries that are searched, in order."""
        return {name: entry for name, entry in self.space.items() if not isinstance(entry, Constant)}

    @property
    def first_values(self) -> dict[str, ParamValue]:
        """The constants and the first value of each list of choices whose conditions hold; `probe batch` and `probe lr` train
        with these."""
        values: dict[str, ParamValue] = {}
        for name, entry in self.space.items():
            if isinstance(entry, Constant):
                values[name] = entry.value
            elif isinstance(entry, Choices) and all_hold(entry.when, values):
                values[name] = entry.choices[0]
        return values

    def to_plain(self) -> dict[str, Any]:
        """The content of a TOML file of this recipe, defaults included."""
        plain: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        for name, entry in plain["space"].items():
            if isinstance(entry, dict):  # omit `log = false` and `pow2 = false`
                plain["space"][name] = {key: value for key, value in entry.items() if value is not False}
        for section, table in (("search", "constraints"), ("task", "data_options")):
            if not plain[section][table]:
                del plain[section][table]
        return {key: value for key, value in plain.items() if value not in ({}, []) or key == "space"}
